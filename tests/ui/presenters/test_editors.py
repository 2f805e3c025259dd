from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.domain.errors import SetupProblem
from app.ui.presenters.editors import Editor, copy_for_drawing, find_editors, open_in


def nothing(_name):
    return None


def test_programs_on_the_path_are_found_and_the_chosen_one_is_first(tmp_path):
    mine = tmp_path / "Slicer"
    mine.write_text("")
    found = find_editors(
        str(mine), which=lambda name: "/usr/bin/itksnap" if name == "itksnap" else None
    )
    assert [(one.name, one.program) for one in found][:2] == [
        ("Slicer", str(mine)),
        ("ITK-SNAP", "/usr/bin/itksnap"),
    ]
    assert find_editors(str(tmp_path / "gone"), which=nothing) == find_editors(which=nothing)


def test_each_is_called_as_it_wants():
    image, labels = Path("/a b/im'age.nii.gz"), Path("/s.nii.gz")
    assert Editor(name="ITK-SNAP", program="/bin/itksnap").command(image, labels) == (
        "/bin/itksnap",
        "-g",
        "/a b/im'age.nii.gz",
        "-s",
        "/s.nii.gz",
    )
    words = Editor(name="3D Slicer", program="/opt/Slicer").command(image, labels)
    assert words[:2] == ("/opt/Slicer", "--python-code")
    compile(words[2], "slicer", "exec")
    assert 'loadSegmentation("/s.nii.gz")' in words[2]


def test_the_models_own_segmentation_is_never_what_is_drawn_on(tmp_path):
    made = tmp_path / "case.nii.gz"
    made.write_bytes(b"by the model")
    copy = copy_for_drawing(made)
    assert copy == tmp_path / "edited" / "case.nii.gz"
    copy.write_bytes(b"by a person")
    assert copy_for_drawing(made).read_bytes() == b"by a person"
    assert made.read_bytes() == b"by the model"


def test_it_starts_the_program_on_image_and_copy(tmp_path):
    made = tmp_path / "case.nii.gz"
    made.write_bytes(b"")
    heard = []
    editor = Editor(name="ITK-SNAP", program="/bin/itksnap")
    copy = open_in(
        editor,
        Path("/i.nii.gz"),
        made,
        log=tmp_path / "l",
        start=lambda w, log: heard.append(w) or 1,
    )
    assert heard == [editor.command(Path("/i.nii.gz"), copy)]


@pytest.mark.skipif(sys.platform == "win32", reason="a missing program is told otherwise there")
def test_a_program_that_cannot_be_started_is_told(tmp_path):
    made = tmp_path / "case.nii.gz"
    made.write_bytes(b"")
    editor = Editor(name="ITK-SNAP", program=str(tmp_path / "gone"))
    with pytest.raises(SetupProblem, match="ITK-SNAP cannot be started"):
        open_in(editor, Path("/i"), made, log=tmp_path / "logs" / "l")
