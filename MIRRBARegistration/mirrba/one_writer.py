"""One run at a time in an output folder: two would mix their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Raises InputError where another process is in it. The system ends the claim with the process, however it ends.

    Windows and some network disks have no such locks: there the checksums in result.json tell mixed files.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another registration is writing there; wait for it, or choose another folder."
            ) from None
        except OSError:  # a disk without locks
            pass
        yield
    finally:
        os.close(place)
