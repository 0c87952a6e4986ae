"""The transform that a registration starts from: none, centre of mass, rigid, affine, or the user's own."""

from __future__ import annotations

import logging
import math

import numpy as np
import SimpleITK as sitk

from . import transforms
from .errors import MirrbaError, is_out_of_memory
from .geometry import Geometry
from .images import Prepared
from .quiet import quiet_itk

SPACING = 8.0  # mm: a global motion needs no detail
SHRINK = (4, 2, 1)
FEWEST = 4  # voxels along the thinnest side, for ITK's filters, at any scale
FINEST = 3.0  # mm: a thin slab has fewer scales, not voxels as thin, of which the other volume would have too many
ITERATIONS = 100
LARGEST_STEP = 4.0  # mm
SMALLEST_STEP = 0.02  # mm
LARGEST_SCALE = 1.5

log = logging.getLogger("mirrba")


def initial_transform(init: str, fixed: Prepared, moving: Prepared) -> sitk.Transform:
    """Fixed→moving points (LPS mm). `init` is one of presets.INITIALISATIONS or the path of a transform file.

    Raises InputError for an unusable file.
    """
    if init == "none":
        return sitk.Transform(3, sitk.sitkIdentity)
    if init == "centre":
        return _centred(fixed, moving)
    if init in ("rigid", "affine"):
        return _optimised(fixed, moving, init)
    return transforms.read_transform(init)


def _centred(fixed: Prepared, moving: Prepared) -> sitk.Transform:
    shift = np.subtract(_centre(moving), _centre(fixed))
    return sitk.TranslationTransform(3, [float(s) for s in shift])


def _centre(prepared: Prepared) -> tuple[float, float, float]:
    """The body's centre, LPS mm."""
    indices = np.argwhere(sitk.GetArrayViewFromImage(prepared.body) > 0)
    return Geometry.from_image(prepared.body).point([float(n) for n in indices.mean(0)[::-1]])


@quiet_itk()  # of a start that brings nothing together, which is then not taken
def _optimised(fixed: Prepared, moving: Prepared, kind: str) -> sitk.Transform:
    """Rigid, then affine if asked, by global correlation (ITK v4 framework), from the better of two starts."""
    thinnest = min(min(Geometry.from_image(prepared.image).extent) for prepared in (fixed, moving))
    spacing, shrink = scales(thinnest)
    images = [_coarse(fixed, spacing), _coarse(moving, spacing)]
    starts = [sitk.TranslationTransform(3), _centred(fixed, moving)]
    shift = min(starts, key=lambda start: _mismatch(images, start))
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(_centre(fixed))
    rigid.SetTranslation(sitk.TranslationTransform(shift).GetOffset())
    _descend(images, rigid, spacing, shrink)
    if kind == "rigid":
        return rigid
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    _descend(images, affine, spacing, shrink)
    if _is_plausible(affine):
        return affine
    log.warning(
        "The affine start came out as no body changes between two scans, so it stayed rigid; check the overlay."
    )
    return rigid


def _is_plausible(affine: sitk.AffineTransform) -> bool:
    """Neither mirrored nor stretched much: where nothing changes along an axis, correlation does not know its scale."""
    matrix = np.reshape(affine.GetMatrix(), (3, 3))
    scales = np.linalg.svd(matrix, compute_uv=False)
    return bool(np.linalg.det(matrix) > 0 and scales.max() < LARGEST_SCALE and scales.min() > 1 / LARGEST_SCALE)


def scales(thinnest: float) -> tuple[float, list[int]]:
    """Spacing, mm, and by what it is multiplied at each scale, for volumes that are nowhere thinner, mm."""
    spacing = min(SPACING, max(thinnest / (FEWEST * SHRINK[0]), min(FINEST, thinnest / FEWEST)))
    return spacing, [factor for factor in SHRINK if thinnest / (spacing * factor) > FEWEST - 1e-6]


def _coarse(prepared: Prepared, spacing: float) -> sitk.Image:
    grid = Geometry.from_image(prepared.image).resampled(spacing)
    return grid.resample(sitk.SmoothingRecursiveGaussian(prepared.image, spacing / 2))


def _method() -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    # Sums over several threads come out in another order from run to run; runs must repeat exactly.
    method.SetNumberOfThreads(1)
    return method


def _mismatch(images: list[sitk.Image], start: sitk.Transform) -> float:
    method = _method()
    method.SetInitialTransform(start)
    try:
        return float(method.MetricEvaluate(*images))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return math.inf  # no overlap


def _descend(images: list[sitk.Image], transform: sitk.Transform, spacing: float, shrink: list[int]) -> None:
    """Optimises `transform` in place."""
    method = _method()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=LARGEST_STEP, minStep=SMALLEST_STEP, numberOfIterations=ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([0.5 * factor * spacing for factor in shrink[:-1]] + [0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(*images)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise MirrbaError(
            f"The initial alignment failed ({str(error).strip().splitlines()[-1]}); start with init=centre or none."
        ) from None
