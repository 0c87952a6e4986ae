"""What ITK's NIfTI reader passes over in silence: a file that is cut short or damaged, a voxel size that is none.

It fills what is missing with zeros, so that half a patient would be registered without a word.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
    """Raises InputError for a damaged NIfTI file, or pair of .hdr and .img; other files are left to ITK.

    `path`: of a pair, the one or the other.
    """
    described, voxels = _of_pair(path, "hdr"), _of_pair(path, "img")
    with _unpacked(described) as file:
        header = _header(file.read(540), described != voxels)
    if header is None:
        return
    with _unpacked(voxels) as file:
        length = sum(len(chunk) for chunk in iter(lambda: file.read(CHUNK), b""))
    if length < header.file_bytes:
        raise InputError(f"{voxels}: is cut short; copy or export it again.")
    if not all(0 < spacing < math.inf for spacing in header.spacing):
        sizes = " × ".join(f"{spacing:g}" for spacing in header.spacing)
        raise InputError(f"{described}: has a voxel spacing of {sizes} mm; correct the file's header.")


def _of_pair(path: Path, kind: str) -> Path:
    """The .hdr or .img that is beside the other of them, as ITK looks for it; any other file itself."""
    found = re.fullmatch(r"(.+\.)(?:hdr|img)(?:\.gz)?", path.name, re.IGNORECASE)
    if found is None or path.name.lower().removesuffix(".gz").endswith(kind):
        return path
    names = [found[1] + ending for ending in (kind, f"{kind}.gz")]
    names += [found[1] + ending.upper() for ending in (kind, f"{kind}.gz")]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), path)


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """A file, or what is packed in it. Raises InputError where that cannot be unpacked."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: is cut short or damaged; copy or export it again.") from None


def _header(start: bytes, is_pair: bool) -> _Header | None:
    """Of a NIfTI-1 or NIfTI-2 file that holds its voxels itself, or of a pair of NIfTI-1 or of Analyze, which NIfTI-1
    has grown from; None for anything else, a pair of NIfTI-2 among it, which ITK does not read.
    """
    for order in "<>":
        if start[:4] == struct.pack(f"{order}i", 348) and (is_pair or start[344:347] == b"n+1"):
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
