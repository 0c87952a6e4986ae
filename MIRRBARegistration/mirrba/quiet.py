"""ITK without the warnings that it prints, many lines each: what concerns the user, the engine says itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Also a decorator. ITK's switch is the whole process's: how it stood before comes back."""
    import SimpleITK as sitk  # only now: what needs no image shall not wait for it

    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)
