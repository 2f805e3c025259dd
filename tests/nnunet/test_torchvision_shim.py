"""Each case runs in a process of its own: what is imported or declared cannot be taken back."""

import subprocess
import sys

import pytest

ENSURE = "from app.nnunet.torchvision_shim import Torchvision, ensure; "


def run(code: str, project_root) -> str:
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return child.stdout.strip()


def test_after_it_torchvision_and_timm_can_be_imported(project_root):
    told = run(
        ENSURE + "first = ensure(); second = ensure(); assert first is second;"
        "import torchvision.ops, timm; print(first.value)",
        project_root,
    )
    assert told in {"native", "shimmed"}


def test_a_torchvision_whose_operators_are_missing_is_mended(project_root, tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    told = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        + ENSURE
        + "print(ensure().value); import torchvision; print(torchvision.__file__)",
        project_root,
    )
    assert told.splitlines() == ["shimmed", str(package / "__init__.py")]


@pytest.mark.parametrize(
    ("body", "expected"), [("", "native"), ("raise RuntimeError('broken')", "RuntimeError broken")]
)
def test_a_whole_one_is_left_alone_and_other_damage_is_not_hidden(
    project_root, tmp_path, body, expected
):
    (tmp_path / "torchvision.py").write_text(body)
    told = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        + ENSURE
        + "\ntry: print(ensure().value)"
        "\nexcept RuntimeError as exc: print(type(exc).__name__, exc)",
        project_root,
    )
    assert told == expected


def test_without_torchvision_there_is_nothing_to_do(project_root):
    told = run(
        "import importlib.util; found = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name: None if name == 'torchvision' else found(name);"
        + ENSURE
        + "print(ensure().value)",
        project_root,
    )
    assert told == "absent"
