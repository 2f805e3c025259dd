from __future__ import annotations

from app.ui.models.doctor import DoctorLine
from app.ui.text import Tone
from app.ui.widgets.check_lines import CheckLines


def line(step: str, sentence: str = "Enough.", remedy: str = "") -> DoctorLine:
    return DoctorLine(
        step=step, state="passed", icon="check", tone=Tone.GOOD, sentence=sentence, remedy=remedy
    )


def test_it_shows_these_lines_and_no_others(qtbot):
    lines = CheckLines()
    qtbot.addWidget(lines)
    lines.show()
    lines.draw([line("Memory"), line("Disk", "Nearly full.", "Delete something.")])
    lines.draw([line("Disk", "Nearly full.", "Delete something.")])
    shown = [(step.text(), said.text()) for _, step, said in lines.parts if said.isVisible()]
    assert shown == [("Disk", "Nearly full.\nDelete something.")]
    assert lines.parts[0][2].accessibleName() == "Disk, passed: Nearly full."
