"""What makes the window's start quick and is undone, or settled, once its first page is there."""

from __future__ import annotations

import builtins
import gc


def begin_start() -> None:
    """Import Qt and make what follows cheap; to be called before the rest of the window loads.

    Nothing that a start makes is garbage, so looking for some, a tenth of all its time, waits until
    `end_start`.

    WORKAROUND shibokensupport/feature.py (`_mod_uses_pyside`, PySide6 6.5 to 6.11): whether a module may
    use `from __feature__ import snake_case` is found by reading its source text, a quarter of a
    millisecond for each of the hundreds that a window loads. We use no such switch, and a module that
    the hook has not seen counts as one without; the hook is taken out. Can go when PySide6 looks only
    after the first import of `__feature__`.
    """
    gc.disable()
    import PySide6.QtWidgets  # noqa: F401 - it puts the hook in place

    before = getattr(builtins, "__orig_import__", None)
    if before is not None:
        builtins.__import__ = before


def end_start() -> None:
    """Collect garbage again, and never look at what the start has made: it lives as long as we."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
