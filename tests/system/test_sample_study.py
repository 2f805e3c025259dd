from app.system.sample_study import (
    Beginning,
    SampleStudy,
    forget_beginning,
    note_beginning,
    read_beginning,
    sample_folder,
    sample_study_home,
)


def test_sites_come_largest_first(tmp_path):
    assert SampleStudy(home=tmp_path).names == ("north", "harbour", "valley")
    assert {"north", "harbour", "valley"} <= {one.name for one in sample_folder().iterdir()}


def test_command_and_window_mean_the_same_place(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_HOME", str(tmp_path))
    assert sample_study_home() == tmp_path / "sample-study"


def test_what_is_noted_is_read_until_it_is_forgotten(tmp_path):
    assert read_beginning(tmp_path) is None
    note = Beginning(step=2, steps=6, sentence="north joins")
    note_beginning(tmp_path, note)
    assert read_beginning(tmp_path) == note
    forget_beginning(tmp_path)
    forget_beginning(tmp_path)
    assert read_beginning(tmp_path) is None


def test_a_damaged_note_is_no_news(tmp_path):
    note_beginning(tmp_path, Beginning())
    (tmp_path / "beginning.json").write_bytes(b'{"step": "two"}')
    assert read_beginning(tmp_path) is None
