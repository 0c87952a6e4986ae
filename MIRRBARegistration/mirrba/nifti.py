"""What ITK's NIfTI reader passes over in silence: a file that is cut short or damaged, a voxel size that is none.

It fills what is missing with zeros, so that half a patient would be registered without a word.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

CHUNK = 2**20  # bytes
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class _Header:
    dimensions: tuple[int, ...]
    bits: int
    spacing: tuple[float, ...]
    offset: float
    """Of the first voxel, bytes."""

    @property
    def file_bytes(self) -> float:
        return self.offset + math.prod(self.dimensions) * self.bits / 8


def check_nifti(path: Path) -> None:
    """Raises InputError for a damaged NIfTI file; other files are left to ITK."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            start = file.read(540)
            header = _header(start)
            if header is None:
                return
            length = len(start)
            while chunk := file.read(CHUNK):
                length += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: is cut short or damaged; copy or export it again.") from None
    if length < header.file_bytes:
        raise InputError(f"{path}: is cut short; copy or export it again.")
    if not all(0 < spacing < math.inf for spacing in header.spacing):
        sizes = " × ".join(f"{spacing:g}" for spacing in header.spacing)
        raise InputError(f"{path}: has a voxel spacing of {sizes} mm; correct the file's header.")


def _header(start: bytes) -> _Header | None:
    """Of a NIfTI-1 or NIfTI-2 file that holds its voxels itself; None for anything else."""
    for order in "<>":
        if start[:4] == struct.pack(f"{order}i", 348) and start[344:347] == b"n+1":
            return _fields(start, f"{order}8h", 40, 72, f"{order}8f", 76, f"{order}f", 108)
        if start[:4] == struct.pack(f"{order}i", 540) and start[4:7] == b"n+2":
            return _fields(start, f"{order}8q", 16, 14, f"{order}8d", 104, f"{order}q", 168)
    return None


def _fields(
    start: bytes, sizes: str, sizes_at: int, bits_at: int, spacings: str, spacings_at: int, offset: str, offset_at: int
) -> _Header | None:
    if len(start) < spacings_at + struct.calcsize(spacings) or len(start) < offset_at + struct.calcsize(offset):
        return None
    count, *dimensions = struct.unpack_from(sizes, start, sizes_at)
    if not 1 <= count <= 7 or min(dimensions[:count]) < 1:
        return None
    (bits,) = struct.unpack_from(f"{sizes[0]}h", start, bits_at)
    spacing = struct.unpack_from(spacings, start, spacings_at)[1 : 1 + min(count, 3)]
    (first,) = struct.unpack_from(offset, start, offset_at)
    return _Header(tuple(dimensions[:count]), bits, spacing, first)
