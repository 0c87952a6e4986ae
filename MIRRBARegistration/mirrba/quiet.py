"""ITK without the warnings that it prints, many lines each: what concerns the user, the engine says itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_quiet: list[bool] = []
"""For each that is within, how it stood before the first."""


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Also a decorator. ITK's switch is the whole process's: how it stood before comes back with the last to leave."""
    import SimpleITK as sitk  # only now: what needs no image shall not wait for it

    with _lock:
        _quiet.append(_quiet[0] if _quiet else sitk.ProcessObject.GetGlobalWarningDisplay())
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        with _lock:
            before = _quiet.pop()
            if not _quiet:
                sitk.ProcessObject.SetGlobalWarningDisplay(before)
