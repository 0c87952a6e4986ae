"""Reading and checking PET volumes, finding the body, normalising, and the working grid both are brought to."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .errors import InputError
from .geometry import Geometry, times
from .reading import read_image

log = logging.getLogger("mirrba")

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SMALLEST_SIDE = 8  # voxels
SMALLEST_BODY = 0.25  # litres
LARGEST_VALUE = 1e30  # beyond it, sums overflow: no unit of uptake comes near
CT_SHARE = 0.05  # of the voxels further below zero than the body is above it: air in a CT, noise in a PET
FEW_VALUES = 50  # as label maps have; a PET stored in bytes has up to 256
SAMPLE = 1_000_000  # voxels that are enough to count values
ORDINARY = 0.98  # the share of a volume's voxels that is surely neither bladder nor injection site
BODY_THRESHOLD = 0.15  # of the mean uptake of the body
CLIP = 10.0  # times the body's mean uptake, about SUV 10
COARSE = 12.0  # mm, where only outlines matter
FACE = 2  # working voxels inside the face of a field of view, where windows would see its edge as anatomy
MARGIN = 24.0  # mm kept around the body
BEYOND = 60.0  # mm outside the fixed field of view from which tissue may still be pulled in


def read_volume(path: str | Path) -> sitk.Image:
    """A PET volume as float32. Raises InputError for anything that is not a readable scalar 3-D image."""
    image = read_image(path)
    if any(key.startswith("Segment") for key in image.GetMetaDataKeys()):
        raise InputError(f"{path}: is a segmentation; give the PET here and the segmentation with its own option.")
    volume = check_volume(image, str(path))
    _tell_label_map(volume, str(path))
    return volume


def check_volume(image: sitk.Image, name: str) -> sitk.Image:
    """The volume as float32, with 0 where a voxel is not finite or 1e30 and more.

    Raises InputError, naming the volume.
    """
    if image.GetDimension() != 3:
        raise InputError(f"{name}: has {image.GetDimension()} dimensions; give a single 3-D volume.")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{name}: has several values per voxel; give a scalar PET volume.")
    if min(image.GetSize()) < SMALLEST_SIDE:
        raise InputError(
            f"{name}: is {times(image.GetSize())} voxels; a volume needs at least {SMALLEST_SIDE} along every axis."
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{name}: has complex values; give a PET volume.")
    grid = Geometry.from_image(image)
    grid.check(name)
    image = sitk.Cast(image, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    finite = np.abs(values) < LARGEST_VALUE  # false for what is no number, too
    if not finite.all():
        log.warning("%s: %d voxels are not finite and count as 0.", name, int(np.size(finite) - finite.sum()))
        cleaned = sitk.GetImageFromArray(np.where(finite, values, np.float32(0)))
        cleaned.CopyInformation(image)
        image, values = cleaned, sitk.GetArrayViewFromImage(cleaned)
    if values.max() <= 0 or values.max() == values.min():
        raise InputError(f"{name}: holds no uptake (no voxel above zero, or all equal); is this the right volume?")
    _check_kind(values, name)
    if math.prod(grid.extent) / 1e6 < SMALLEST_BODY:
        raise InputError(
            f"{name}: is {times(grid.extent)} mm large, too small for a body; correct the spacing in its header."
        )
    return image


def _check_kind(values: Floats, name: str) -> None:
    """Refuse a mask and a CT."""
    if np.all((values == values.min()) | (values == values.max())):
        raise InputError(f"{name}: has two different values only, as a mask; give the PET, and masks as segmentations.")
    if np.mean(values < -body_mean(values)) > CT_SHARE:
        raise InputError(
            f"{name}: has many voxels far below zero, as a CT has; give the PET, or set them to 0 if this is one."
        )


def _tell_label_map(image: sitk.Image, name: str) -> None:
    """A warning only: a simulated PET may have few values, too."""
    values = sitk.GetArrayViewFromImage(image).ravel()
    found = np.unique(values[:: max(1, values.size // SAMPLE)])
    if len(found) <= FEW_VALUES and np.array_equal(found, np.round(found)):
        log.warning("%s: has only %d different values, as a label map; check that it is the PET.", name, len(found))


def body_mean(values: Floats) -> float:
    """The mean uptake of the body, in the image's units: about 1 for SUV.

    Voxels above a share of the body's own mean are body; a few rounds settle it. No voxel counts for more than ten
    times the mean, so that bladder or injection site hardly move it.
    """
    positive = values[values > 0]
    mean = float(np.minimum(positive, np.quantile(positive, ORDINARY)).mean(dtype=np.float64))
    for _ in range(50):
        body = positive[positive > BODY_THRESHOLD * mean]
        mean, before = float(np.minimum(body, CLIP * mean).mean(dtype=np.float64)), mean
        if math.isclose(mean, before, rel_tol=1e-3):
            break
    return mean


def body_mask(image: sitk.Image) -> sitk.Image:
    """1 inside the body: smoothed uptake above the threshold, largest piece, holes filled slice by slice."""
    smooth = sitk.SmoothingRecursiveGaussian(image, 6.0)
    mean = body_mean(sitk.GetArrayViewFromImage(image))
    mask = sitk.GetArrayFromImage(smooth) > BODY_THRESHOLD * mean
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    mask = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    body = sitk.GetImageFromArray(mask.astype(np.uint8))
    body.CopyInformation(image)
    return body


def normalise(values: Floats, mean: float) -> Floats:
    """Uptake to [0, 1]: √(x / body mean, clipped to 0…10) / √10.

    SUV, Bq/ml and counts come out alike. Negative voxels, which reconstruction noise leaves in air, become 0. The
    square root evens the noise out and keeps brain and bladder from drowning the rest.
    """
    return np.sqrt(np.clip(values / mean, 0.0, CLIP) / CLIP).astype(np.float32)


@dataclass(frozen=True)
class WorkingPair:
    """Both volumes on the working grid, `[z, y, x]`: intensities in [0, 1], `weight` 1 where both were scanned."""

    grid: Geometry
    fixed: Floats
    moving: Floats
    weight: Floats


@dataclass(frozen=True)
class Prepared:
    """A checked volume with its normalised intensities and body mask, on its own grid."""

    image: sitk.Image
    body: sitk.Image

    @staticmethod
    def of(image: sitk.Image, name: str) -> Prepared:
        """Raises InputError where no body is found; `name` says in which volume."""
        values = sitk.GetArrayViewFromImage(image)
        normal = sitk.GetImageFromArray(normalise(values, body_mean(values)))
        normal.CopyInformation(image)
        body = body_mask(image)
        litres = float(sitk.GetArrayViewFromImage(body).sum()) * math.prod(image.GetSpacing()) / 1e6
        if litres < SMALLEST_BODY:
            raise InputError(f"{name}: only {litres:.2f} litres in it have uptake; is this a PET of a body?")
        return Prepared(normal, body)


def body_box(fixed: Prepared, moving: Prepared, transform: sitk.Transform) -> Geometry:
    """The box along the fixed image's axes that holds both bodies, as a coarse grid (12 mm).

    `transform` maps fixed to moving points. The box reaches at most 60 mm beyond the fixed field of view. Raises
    InputError where the moving body lies outside of it.
    """
    coarse = Geometry.from_image(fixed.body).resampled(COARSE).padded(math.ceil(BEYOND / COARSE))
    inside_fixed = _resampled(fixed.body, coarse, None, sitk.sitkLinear) > 0.3
    inside_moving = _resampled(moving.body, coarse, transform, sitk.sitkLinear) > 0.3
    if not (inside_fixed & inside_moving).any():
        raise InputError(
            "The two volumes do not overlap in space; start with init=centre or init=affine, which first bring the "
            "bodies together."
        )
    found = np.argwhere(inside_fixed | inside_moving)
    grow = math.ceil(MARGIN / COARSE)
    low = np.maximum(found.min(0) - grow, 0)
    high = np.minimum(found.max(0) + grow + 1, inside_fixed.shape)
    return coarse.cropped([int(n) for n in low[::-1]], [int(n) for n in high[::-1]])


def working_grid(box: Geometry, spacing: float, multiple: int) -> Geometry:
    """The isotropic grid over `box`, grown until every side divides by `multiple`."""
    return box.resampled(spacing).padded_to(multiple)


def working_pair(fixed: Prepared, moving: Prepared, transform: sitk.Transform, grid: Geometry) -> WorkingPair:
    """Both volumes on one isotropic grid, `transform` (fixed→moving) applied to the moving one.

    Interpolated by cubic splines: the optimisation interpolates the moving volume once more, and two linear ones blur
    the edges of organs. Outside its own field of view a volume goes on as its nearest voxel, with weight 0: air there
    would make an edge of the body's end, and windows that reach across would draw one field's end onto the other's.
    Raises InputError where no voxel lies inside both.
    """
    images = []
    weight = np.ones(grid.shape, np.float32)
    for prepared, mapping in ((fixed, None), (moving, transform)):
        smoothed = _smoothed(prepared.image, grid.spacing[0])
        # Splines overshoot beside an edge.
        images.append(np.clip(_resampled(smoothed, grid, mapping, sitk.sitkBSpline, continued=True), 0, 1))
        scanned = _resampled(prepared.image * 0 + 1, grid, mapping, sitk.sitkNearestNeighbor) > 0
        weight *= ndimage.binary_erosion(scanned, iterations=FACE)
    if not weight.any():
        raise InputError(
            f"As they lie at the start, both volumes show a part that is less than {2 * FACE + 1} voxels of "
            f"{grid.spacing[0]:g} mm thick; check that they show the same part of the body, or set another init or a "
            "finer spacing."
        )
    return WorkingPair(grid, images[0], images[1], weight)


def sampled(image: sitk.Image, grid: Geometry, transform: sitk.Transform | None) -> Floats:
    """`image` on an isotropic grid through `transform`, 0 outside of it, `[z, y, x]`.

    An image finer than the grid is smoothed first, so that sampling does not alias.
    """
    return _resampled(_smoothed(image, grid.spacing[0]), grid, transform, sitk.sitkLinear)


def _smoothed(image: sitk.Image, spacing: float) -> sitk.Image:
    sigmas = [0.5 * math.sqrt(max(spacing**2 - own**2, 0.0)) for own in image.GetSpacing()]
    if max(sigmas) < 0.1:
        return image
    return sitk.SmoothingRecursiveGaussian(image, [max(sigma, 1e-3) for sigma in sigmas])


def _resampled(
    image: sitk.Image, grid: Geometry, transform: sitk.Transform | None, interpolator: int, continued: bool = False
) -> Floats:
    values = sitk.Cast(image, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(grid.resample(values, transform, interpolator, continued))
