"""A pair from a single real PET: lesions are put into it, and its copy, warped by a known field, is the follow-up.

Real texture with an exact truth; some of the lesions grow, shrink, vanish or appear. Both images come from the same
examination, whose noise is in both, so this is easier than two scans of one patient.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from ..errors import InputError
from ..geometry import Geometry
from ..segments import Segment, Segmentation
from ..transforms import write_transform
from .implants import SCANNER, Floats, Host, Seen, implant, points_of, seen, sigma_of
from .lesions import LESION_COLOR, make_lesions

NODES = (6, 6, 10)
NODE_SIGMA = 8.0  # mm
TURN = 0.04  # radians
SHIFT = 14.0  # mm
GAIN = 1.15  # of the uptake from one scan to the next
REVISION = 1
"""Raised when a seed gives another pair: those that are there already are not of this one."""
NO_ROOM = "The PET has no room for lesions and a motion of some centimetres; give one of a whole body."


@dataclass(frozen=True, eq=False)
class WarpedPair:
    """Both volumes, their lesions, and the true transform: fixed to moving points (mm, LPS).

    `moving` lies on the PET's grid, its axes in LPS order; `fixed` too, without slices that the PET did not show.
    """

    fixed: sitk.Image
    moving: sitk.Image
    fixed_lesions: Segmentation
    moving_lesions: Segmentation
    truth: sitk.Transform


def warped_pair(pet: sitk.Image, seed: int) -> WarpedPair:
    """The PET with lesions, and its follow-up. Raises InputError where they have no room."""
    for_motion, for_lesions, for_noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    pet = sitk.DICOMOrient(pet, "LPS")  # whatever the order of its axes: slices lie across the body
    grid = Geometry.from_image(pet)
    try:
        host = Host.of(pet, for_lesions)
        lesions = make_lesions(host, for_lesions)
    except ArithmeticError:
        raise InputError(NO_ROOM) from None
    at_baseline = seen(lesions, grid, sitk.Transform(3, sitk.sitkIdentity), follow_up=False)
    moving, uptake = implant(sitk.GetArrayFromImage(pet), at_baseline, grid, host.mean)
    moving = moving + _noise(uptake, host.mean, grid, for_noise)
    truth = known_motion(pet, for_motion)
    later = _shown(grid, truth)
    at_followup = seen(lesions, later, truth, follow_up=True)
    warped = sitk.GetArrayFromImage(later.resample(pet, truth, sitk.sitkBSpline3))
    fixed = GAIN * implant(np.clip(warped, 0, None), at_followup, later, host.mean)[0]
    fixed = np.clip(fixed + _noise(fixed, host.mean, later, for_noise), 0, None)
    return WarpedPair(
        later.image(fixed.astype(np.float32)),
        grid.image(moving.astype(np.float32)),
        _segmentation(at_followup, later),
        _segmentation(at_baseline, grid),
        truth,
    )


def write_warped(pet: sitk.Image, folder: Path, seed: int) -> None:
    """The files of a pair in `folder`, which appears whole or not at all. Raises InputError."""
    pair = warped_pair(pet, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".warped-", dir=folder.parent) as name:
        aside = Path(name) / folder.name
        aside.mkdir()
        for word, image, lesions in (
            ("fixed", pair.fixed, pair.fixed_lesions),
            ("moving", pair.moving, pair.moving_lesions),
        ):
            sitk.WriteImage(image, str(aside / f"{word}.nii.gz"), useCompression=True)
            lesions.write(aside / f"{word}_segmentation.seg.nrrd")
        write_transform(pair.truth, aside / "true_transform.h5")
        os.replace(aside, folder)


def known_motion(image: sitk.Image, rng: np.random.Generator) -> sitk.Transform:
    """A turn and shift of the patient after a smooth cubic B-spline of some 8 mm per node; fixed to moving points."""
    grid = Geometry.from_image(image)
    turn, shift = rng.normal(0, TURN, 3), rng.normal(0, SHIFT, 3)
    rigid = sitk.Euler3DTransform(grid.point([n / 2 for n in grid.size]), *turn.tolist(), shift.tolist())
    spline = sitk.BSplineTransformInitializer(image, list(NODES), 3)
    spline.SetParameters(rng.normal(0, NODE_SIGMA, len(spline.GetParameters())).tolist())
    return sitk.CompositeTransform([rigid, spline])


def _shown(grid: Geometry, motion: sitk.Transform) -> Geometry:
    """The slices of the grid that the motion takes between the first and the last one. Raises InputError."""
    slices = range(grid.size[2])
    first = next((z for z in slices if _is_shown(z, grid, motion)), None)
    last = next((z for z in reversed(slices) if _is_shown(z, grid, motion)), None)
    if first is None or last is None:
        raise InputError(NO_ROOM)
    return grid.cropped([0, 0, first], [*grid.size[:2], last + 1])


def _is_shown(z: int, grid: Geometry, motion: sitk.Transform) -> bool:
    points = points_of(grid.cropped([0, 0, z], [*grid.size[:2], z + 1]), motion)
    along = (points - np.array(grid.origin)) @ np.linalg.inv(grid.matrix)[2]
    return bool(((along >= 0) & (along <= grid.size[2] - 1)).all())


def _noise(uptake: Floats, mean: float, grid: Geometry, rng: np.random.Generator) -> Floats:
    """As `scanner.scan` adds it, but for what random coincidences add everywhere; `mean` is SUV 1."""
    millilitres = math.prod(grid.spacing) / 1000.0
    deviation = SCANNER.noise * np.sqrt(np.maximum(uptake, 0.0) / mean / millilitres)
    return mean * gaussian_filter(deviation * rng.normal(size=uptake.shape), sigma_of(0.6 * SCANNER.fwhm, grid))


def _segmentation(lesions: Sequence[Seen], grid: Geometry) -> Segmentation:
    return Segmentation(tuple(_segment(lesion, grid) for lesion in lesions), grid)


def _segment(lesion: Seen, grid: Geometry) -> Segment:
    mask = np.zeros(grid.shape, np.bool_)
    mask[lesion.box] = lesion.mask
    return Segment(lesion.name, mask, "lesion", LESION_COLOR)
