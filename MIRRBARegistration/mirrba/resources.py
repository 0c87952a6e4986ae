"""How a process that registrations have to themselves uses the machine's cores and memory."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt


def share_cores() -> None:
    """Let waiting threads of GNU OpenMP go to sleep soon: two runs on one machine otherwise slow each other manifold.

    To be called before torch is first imported; a choice that the user made stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_memory() -> None:
    """Keep what is freed until the process ends, where glibc manages its memory (Linux).

    Otherwise a large tensor goes back to the system after each operation, and the next takes it anew, page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # never


def peak_memory_mb() -> float | None:
    """The most memory that this process has held, MiB; None on Windows."""
    try:
        # Not getrusage: its peak begins with that of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10, 1)
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
