"""pyqtgraph, imported beside the window.

With numpy it takes twice as long to import as an empty window to start (decision 0063), so nothing
that is to be seen at once waits for it.
"""

from __future__ import annotations

import importlib
import threading

_loaded = threading.Event()
_begun = threading.Event()


def load() -> None:
    """Import pyqtgraph now, or wait until the thread that does has done it."""
    importlib.import_module("pyqtgraph")
    _loaded.set()


def load_beside() -> None:
    """Begin to import pyqtgraph in a thread, once; `is_loaded` tells when it is there."""
    if not _begun.is_set():
        _begun.set()
        # No daemon: a window that is closed meanwhile waits for it. Python's end in the middle of an
        # import of numpy crashes.
        threading.Thread(target=load, name="plotting").start()


def is_loaded() -> bool:
    """Whether a plot can be made without keeping anybody waiting."""
    return _loaded.is_set()
