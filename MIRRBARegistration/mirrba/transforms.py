"""ITK transforms from fixed to moving points (LPS, mm): from a field, composed, read and written."""

from __future__ import annotations

import logging
import math
import os
import struct
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .errors import InputError
from .geometry import Geometry
from .paths import check_name

log = logging.getLogger("mirrba")

Array = npt.NDArray[np.float64]

RAMP = 3.0  # the border falls to zero over this many times its displacement: the slope stays near a half
LEAST_RAMP = 2  # voxels

_one_at_a_time = threading.Lock()  # ITK's HDF5 crashes where two threads are in it


def tapered(displacement: Array, grid: Geometry) -> tuple[Array, Geometry]:
    """A voxel displacement `[z, y, x, 3]` extended until it is zero on its faces, and the larger grid.

    Beyond a displacement field ITK assumes zero and Slicer the value at the face: here both are zero. A side grows by
    no more than the longest one has voxels; a warning is logged where that is too little for a gentle slope.
    """
    low, high = _widths(displacement, grid)
    extended = np.pad(displacement, [*zip(low, high, strict=True), (0, 0)], mode="edge")
    for axis in range(3):
        inner = displacement.shape[axis]
        ramp = np.concatenate([_ramp(low[axis]), np.ones(inner), _ramp(high[axis])[::-1]])
        view = [1, 1, 1, 1]
        view[axis] = len(ramp)
        extended *= ramp.reshape(view)
    larger = grid.cropped([-n for n in low[::-1]], [n + h for n, h in zip(grid.size, high[::-1], strict=True)])
    return extended, larger


def _widths(displacement: Array, grid: Geometry) -> tuple[list[int], list[int]]:
    """How many voxels are added before and behind, by axis `[z, y, x]`."""
    ends = [[displacement.take([end], axis) for axis in range(3)] for end in (0, -1)]
    low, high = ([LEAST_RAMP + math.ceil(RAMP * _longest(face)) for face in faces] for faces in ends)
    most = max(LEAST_RAMP, max(grid.size) // 2)
    if max(low + high) > most:
        log.warning(
            "The deformation moves the border of its grid by %.0f mm, so the registration has probably failed; look at "
            "the overlay, and start with init=affine or init=centre.",
            max(_longest(face @ grid.matrix.T) for faces in ends for face in faces),
        )
    return [min(width, most) for width in low], [min(width, most) for width in high]


def _longest(vectors: Array) -> float:
    return float(np.linalg.norm(vectors, axis=-1).max())


def _ramp(width: int) -> Array:
    """0 to just below 1 in `width` voxels."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(width) / width)


def from_voxels(displacement: Array, grid: Geometry) -> sitk.Transform:
    """A voxel displacement `[z, y, x, 3]` on `grid` as an ITK displacement field transform in mm."""
    return sitk.DisplacementFieldTransform(grid.image(displacement @ grid.matrix.T, is_vector=True))


def displacement_field(transform: sitk.Transform, grid: Geometry) -> sitk.Image:
    """T(x) − x in mm, LPS, at the voxels of a grid, float64 vectors."""
    return sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, list(grid.size), list(grid.origin), list(grid.spacing), list(grid.direction)
    )


def then(first: sitk.Transform, second: sitk.Transform) -> sitk.Transform:
    """p → second(first(p)); flat, because ITK does not write nested composites."""
    if first.GetTransformEnum() == sitk.sitkIdentity:
        return second
    if second.GetTransformEnum() == sitk.sitkIdentity:
        return first
    composite = sitk.CompositeTransform([second, first])
    composite.FlattenTransform()
    return composite


def write_transform(transform: sitk.Transform, path: Path) -> None:
    with _one_at_a_time:
        sitk.WriteTransform(transform, str(path))


def read_transform(path: str | Path) -> sitk.Transform:
    """A 3-D transform (fixed→moving points, LPS mm) from a file ITK reads. Raises InputError."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such transform file; check the path.")
    check_name(os.path.abspath(path))
    try:
        _check_mat(Path(path))
        with _one_at_a_time:
            transform = sitk.ReadTransform(str(path))
    except (RuntimeError, struct.error, UnicodeDecodeError, KeyError):  # the latter two are SimpleITK's own
        raise InputError(f"{path}: cannot be read as a transform; give an ITK file such as .h5 or .tfm.") from None
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: is a {transform.GetDimension()}-D transform; give a 3-D one.")
    if not all(_is_finite(part) for part in parts(transform)):
        raise InputError(f"{path}: holds numbers that are not finite; give another transform.")
    if transform.IsLinear() and not _keeps_orientation(transform):
        raise InputError(f"{path}: flattens, mirrors or bursts space; give another transform to start from.")
    return transform


def _check_mat(path: Path) -> None:
    """ITK makes room for as many numbers as a .mat announces, be it more than there is memory. Errors: struct.error."""
    if path.suffix.lower() != ".mat":
        return
    content = path.read_bytes()
    place = 0
    while place < len(content):
        kind, rows, columns, _, name = struct.unpack_from("<5i", content, place)
        if min(rows, columns, name) < 0:
            raise struct.error
        number_bytes = 4 if kind // 10 % 10 == 1 else 8
        place += 20 + name + number_bytes * rows * columns
    if place > len(content):
        raise struct.error


def as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """The same linear transform; ITK inverts only some of its many kinds."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    axes = [np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
    return sitk.AffineTransform(np.ravel(np.transpose(axes)).tolist(), origin.tolist())


def parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transforms that a composite is made of, of any other itself alone."""
    transform = transform.Downcast()
    if not isinstance(transform, sitk.CompositeTransform):
        return [transform]
    return [part for k in range(transform.GetNumberOfTransforms()) for part in parts(transform.GetNthTransform(k))]


def _is_finite(transform: sitk.Transform) -> bool:
    if isinstance(transform, sitk.DisplacementFieldTransform):
        return bool(np.isfinite(sitk.GetArrayViewFromImage(transform.GetDisplacementField())).all())
    return bool(np.isfinite(transform.GetParameters()).all())


def _keeps_orientation(transform: sitk.Transform) -> bool:
    matrix = np.reshape(as_affine(transform).GetMatrix(), (3, 3))
    return bool(1e-3 < np.linalg.det(matrix) < 1e3)
