from app.domain.errors import REMEDIES, ErrorCode


def test_every_message_has_its_place_on_the_help_page(project_root):
    page = (project_root / "resources" / "help" / "messages.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert set(sections) == {code.value for code in ErrorCode}
    for code in ErrorCode:
        assert REMEDIES[code] in sections[code.value].strip()
