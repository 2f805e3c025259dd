"""Try the Windows product under Wine: `python3 installer/verify_windows.py` (as root)."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Started as a file, Python looks for modules beside it; `installer` lies one folder up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from installer.windows.verify import main

    sys.exit(main(sys.argv[1:]))
