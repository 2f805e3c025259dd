"""What holds for every test: markers, switches, and nothing left behind.

The same tests run in two environments. In the headless one neither PySide6 nor torch (nor
pytest-qt) is installed; folders that import them are not even collected there.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from helpers.logfail import LogWatch
from helpers.threads import Leftovers

# Before any test module imports numpy or makes a QApplication. Shared cores: one thread per process is quickest.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# No test may read or write the key store of the person who runs it.
os.environ.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
# Nor may a GPU package of that person change what the tests compute with.
os.environ["FEDNNUNET_GPU_FOLDER"] = os.devnull

TESTS = Path(__file__).parent


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


HAS_QT = is_installed("PySide6")
HAS_TORCH = is_installed("torch") and is_installed("nnunetv2")

# Folder of tests/ -> the marker that all its tests carry.
FOLDER_MARKERS = {"ui": "window", "nnunet": "nnunet", "worker": "nnunet", "e2e": "e2e"}

collect_ignore: list[str] = []
if not HAS_QT:
    collect_ignore += ["ui"]
if not HAS_TORCH:
    collect_ignore += ["nnunet", "worker"]

# Timings say nothing on a shared machine; examples are few by default and many with --slow.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.register_profile("slow", deadline=None, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    if not is_installed("pytestqt"):
        # Settings of pytest-qt in pyproject.toml, which --strict-config would not know here.
        for name in ("qt_api", "qt_log_level_fail"):
            parser.addini(name, "a setting of pytest-qt, which is not installed here")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("slow" if config.getoption("--slow") else "quick")


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            marker = FOLDER_MARKERS.get(item.path.relative_to(TESTS).parts[0])
            if marker is not None:
                item.add_marker(marker)
        reason = reason_to_skip(item, slow=config.getoption("--slow"))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def reason_to_skip(item: pytest.Item, *, slow: bool) -> str | None:
    if item.get_closest_marker("slow") and not slow:
        return "long form, run by --slow"
    if item.get_closest_marker("window") and not HAS_QT:
        return "PySide6 is not installed"
    if item.get_closest_marker("nnunet") and not HAS_TORCH:
        return "torch and nnunetv2 are not installed"
    if item.get_closest_marker("gpu") and not has_cuda():
        return "no CUDA device"
    return None


def has_cuda() -> bool:
    if not HAS_TORCH:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _log_watch() -> Iterator[LogWatch]:
    watch = LogWatch()
    logging.getLogger().addHandler(watch)
    yield watch
    logging.getLogger().removeHandler(watch)
    complaints = watch.complaints()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture
def expected_log(_log_watch: LogWatch) -> Callable[..., None]:
    """Announce log lines at WARNING or above: ``expected_log(logger, pattern)``."""
    return _log_watch.expect


@pytest.fixture(autouse=True)
def _nothing_left_running(_log_watch: LogWatch) -> Iterator[None]:
    leftovers = Leftovers()
    yield
    complaints = leftovers.complaints()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture(scope="session")
def project_root() -> Path:
    return TESTS.parent


@pytest.fixture(scope="session")
def real_data(project_root: Path) -> Path:
    """Return the folder of real images that lies beside the project on some machines."""
    folder = project_root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data with real images is not beside the project here")
    return folder
