"""Lesions put into a real PET: where there is room for them, and what a scanner would have seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ..geometry import Geometry
from ..images import body_mask, body_mean
from ..transforms import displacement_field
from .anatomy import Site
from .lesions import Lesion
from .scanner import FWHM, SCANNERS
from .shapes import Ellipsoid, Mask, Points, Solid

Floats = NDArray[np.floating]

SCANNER = SCANNERS[0]  # made up, as that of the made patients: it blurs the lesions and adds the noise
_HOT = 2.5  # times the body's mean: heart, bladder, brain, the patient's own lesions
_APART = 30.0  # mm between them and a lesion's middle, more than the largest one reaches
_ENDS = 60.0  # mm from the first and the last slice, so that the patient's motion takes none out of the field of view
_SITES = 400
_COARSE = 10.0  # mm, of the voxels by which a lesion is looked for
_FINE = 3  # points per voxel and axis; odd, so that the middle one is the voxel's centre


class Voxels:
    """The voxels of a mask [z, y, x] on a grid."""

    def __init__(self, mask: Mask, grid: Geometry) -> None:
        self._mask, self._grid = mask, grid

    def contains(self, points: Points) -> Mask:
        index = np.rint((points - np.array(self._grid.origin)) @ np.linalg.inv(self._grid.matrix).T).astype(int)
        within = ((index >= 0) & (index < np.array(self._grid.size))).all(axis=-1)
        inside: Mask = np.zeros(within.shape, dtype=np.bool_)
        x, y, z = index[within].T
        inside[within] = self._mask[z, y, x]
        return inside


@dataclass(frozen=True, eq=False)
class Host:
    """Where lesions may lie in a real PET, as `lesions.Room` wants it."""

    sites: tuple[Site, ...]
    """At least 6 cm from the first and the last slice, and 3 cm from hot tissue."""
    body: Voxels
    organs: dict[str, Solid]
    """Empty: they are hot."""
    mean: float
    """The uptake that counts as SUV 1, in the PET's own unit: the mean over the body."""

    @staticmethod
    def of(pet: sitk.Image, rng: np.random.Generator) -> Host:
        """Raises ArithmeticError where the body has no room."""
        grid = Geometry.from_image(pet)
        body = sitk.GetArrayFromImage(body_mask(pet)) > 0
        mean = body_mean(sitk.GetArrayViewFromImage(pet))
        hot = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(pet, SCANNER.fwhm / FWHM)) > _HOT * mean
        cool = distance_transform_edt(~hot, sampling=grid.spacing[::-1]) > _APART if hot.any() else ~hot
        ends = int(np.ceil(_ENDS / grid.spacing[2]))
        body[:ends] = body[-ends:] = False
        places = np.argwhere(body & cool)
        if len(places) == 0:
            raise ArithmeticError("no room for a lesion")
        chosen = places[rng.integers(len(places), size=_SITES)]
        centres = [np.array(grid.point(index)) for index in chosen[:, ::-1].tolist()]
        kinds = ("bone", "node", "liver")  # their sizes and uptakes; which tissue it is, a PET does not tell
        sites = tuple(Site(kinds[n % len(kinds)], centre, 0.0) for n, centre in enumerate(centres))
        return Host(sites, Voxels(body, grid), {}, mean)


@dataclass(frozen=True, eq=False)
class Seen:
    """A lesion on a grid, in the `box` of its voxels (z, y, x): its mask there, and the share of each that it fills."""

    name: str
    suv: float
    box: tuple[slice, ...]
    mask: Mask
    share: Floats


def seen(lesions: Sequence[Lesion], grid: Geometry, motion: sitk.Transform, follow_up: bool) -> list[Seen]:
    """The lesions that are there, on a grid whose points `motion` takes to the baseline, as far as it holds them."""
    coarse = grid.resampled(_COARSE)
    points = points_of(coarse, motion)
    found = []
    for lesion in lesions:
        solid, suv = (
            (lesion.at_followup(), lesion.followup_suv) if follow_up else (lesion.at_baseline(), lesion.baseline_suv)
        )
        if solid is None:
            continue
        near = (points > solid.lower - _COARSE) & (points < solid.upper + _COARSE)
        box = _box(np.argwhere(near.all(axis=-1)), grid)
        if box is not None:
            found.append(_seen(lesion.name, suv, solid, box, grid, motion))
    return [one for one in found if one.share.any()]


def _box(indices: NDArray[np.int64], grid: Geometry) -> tuple[slice, ...] | None:
    """The voxels (z, y, x) of a grid that lie in or beside coarse voxels [n, 3]; None where there are none of these."""
    if len(indices) == 0:
        return None
    scale = _COARSE / np.array(grid.spacing[::-1])
    low = np.maximum(np.floor((indices.min(axis=0) - 1) * scale), 0).astype(int)
    high = np.minimum(np.ceil((indices.max(axis=0) + 2) * scale), grid.shape).astype(int)
    return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def _seen(
    name: str, suv: float, solid: Ellipsoid, box: tuple[slice, ...], grid: Geometry, motion: sitk.Transform
) -> Seen:
    low, high = [part.start for part in box[::-1]], [part.stop for part in box[::-1]]
    inside = solid.contains(points_of(_finer(grid.cropped(low, high)), motion))
    mask = inside[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
    cells = [n for size in inside.shape for n in (size // _FINE, _FINE)]
    return Seen(name, suv, box, mask, inside.reshape(cells).mean(axis=(1, 3, 5), dtype=np.float32))


def _finer(grid: Geometry) -> Geometry:
    """Each voxel cut into _FINE along each axis."""
    x, y, z = (_FINE * n for n in grid.size)
    a, b, c = (s / _FINE for s in grid.spacing)
    return replace(grid, size=(x, y, z), spacing=(a, b, c), origin=grid.point([(1 / _FINE - 1) / 2] * 3))


def points_of(grid: Geometry, motion: sitk.Transform | None = None) -> Points:
    """The voxel centres [z, y, x, 3] (mm, LPS), or where `motion` takes them."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in grid.shape), indexing="ij")
    points: Points = np.stack([x, y, z], axis=-1) @ grid.matrix.T + np.array(grid.origin)
    if motion is not None:
        points += sitk.GetArrayFromImage(displacement_field(motion, grid))
    return points


def sigma_of(fwhm: float, grid: Geometry) -> list[float]:
    """Of a resolution (mm), in voxels (z, y, x)."""
    return [fwhm / FWHM / spacing for spacing in grid.spacing[::-1]]


def implant(values: Floats, lesions: Sequence[Seen], grid: Geometry, mean: float) -> tuple[Floats, Floats]:
    """The PET `values` [z, y, x] with the lesions in the place of what was there, and the lesions' own uptake."""
    sigma = sigma_of(SCANNER.fwhm, grid)
    share, uptake = np.zeros(grid.shape), np.zeros(grid.shape)
    for lesion in lesions:
        share[lesion.box] += lesion.share
        uptake[lesion.box] += lesion.suv * mean * lesion.share
    own = gaussian_filter(uptake, sigma, mode="nearest")
    return values * (1 - gaussian_filter(share, sigma, mode="nearest")) + own, own
