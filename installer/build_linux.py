"""Build the Linux products: `python3 installer/build_linux.py`; see installer/linux/build.py."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Started as a file, Python looks for modules beside it; `installer` lies one folder up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from installer.linux.build import main

    sys.exit(main(sys.argv[1:]))
