"""Take the README's pictures from a running sample study.

    fednnunet demo --headless --home STUDY &
    DISPLAY=:99 python tests/helpers/live_screenshots.py STUDY resources/screenshots \
        [--theme dark] [--pages training,review]

Opens the real window on the study's sites, goes from page to page and writes one PNG each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PySide6.QtCore import QTimer  # noqa: E402

from app.ui import main as window_main  # noqa: E402
from app.ui.text import Page  # noqa: E402
from app.ui.window import Window  # noqa: E402

SETTLE_MS = 4000
SIZE = (1440, 900)


def take(homes: list[Path], out: Path, theme: str, pages: list[Page]) -> int:
    """Show each page until it has settled, write its picture, close the window; its exit code."""
    application = window_main.make_application()
    out.mkdir(parents=True, exist_ok=True)

    def begin() -> None:
        window = next(w for w in application.topLevelWidgets() if isinstance(w, Window))
        window.resize(*SIZE)
        show(window, list(pages))

    def show(window: Window, left: list[Page]) -> None:
        if not left:
            application.exit()  # closing would first say that training goes on
            return
        window.go_to(left[0])
        QTimer.singleShot(SETTLE_MS, lambda: write(window, left))

    def write(window: Window, left: list[Page]) -> None:
        window.grab().save(str(out / f"{left[0].name.lower()}.png"))
        show(window, left[1:])

    QTimer.singleShot(SETTLE_MS, begin)
    return window_main.main(homes[0], homes=homes, theme=theme)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--pages", default=",".join(page.name.lower() for page in Page))
    parsed = parser.parse_args()
    sites = sorted((parsed.study / "sites").iterdir(), key=lambda home: home.name != "north")
    chosen = [Page[name.upper()] for name in parsed.pages.split(",")]
    sys.exit(take(sites, parsed.out, parsed.theme, chosen))
