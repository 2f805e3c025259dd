"""Build the Windows setup program: `python3 installer/build_windows.py`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Started as a file, Python looks for modules beside it; `installer` lies one folder up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from installer.windows.build import main

    sys.exit(main(sys.argv[1:]))
