"""What a PET scanner makes of a body: partial volume, blur and noise on a grid of voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .anatomy import Part, Texture
from .shapes import Mask, Points

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Scanner:
    """The scanner of a centre, and how that centre reconstructs."""

    centre: str
    spacing: float
    """Voxel size, as a multiple of the one asked for."""
    fwhm: float
    """Resolution of the final image, mm."""
    noise: float
    """Relative standard deviation before the filter in 1 ml of SUV 1."""


# Made up, but as far apart as the two centres of a multicentric study may be (the paper's section 4.1).
SCANNERS = (Scanner("A", 1.0, 6.0, 0.07), Scanner("B", 1.15, 7.5, 0.11))

FWHM = 2.3548  # of a Gaussian, in its σ

_BRICK = 8  # voxels along an edge: small enough for the cache and to pass by what is far away
_BACKGROUND = 0.05  # SUV whose noise random coincidences add everywhere


@dataclass(frozen=True)
class Grid:
    """Cubic voxels, axes along LPS: `shape` (z, y, x), `spacing` in mm, `origin` (x, y, z) of the first centre."""

    shape: tuple[int, int, int]
    spacing: float
    origin: tuple[float, float, float]

    def centres(self) -> Points:
        """The voxel centres [z, y, x, 3] in mm, LPS."""
        return self._lattice([np.arange(n, dtype=np.float64) for n in self.shape])

    def holds(self, points: Points) -> Mask:
        """Whether the points [..., 3] are between the outermost voxel centres."""
        first = np.asarray(self.origin)
        last = first + self.spacing * (np.array(self.shape[::-1]) - 1)
        return np.all((points > first) & (points < last), axis=-1)

    def bricks(self, samples: int) -> Iterator[tuple[tuple[slice, slice, slice], Points]]:
        """Blocks of voxels: their slices, and a lattice [z, y, x, 3] of points (mm), `samples` per voxel and axis."""
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        for z, y, x in itertools.product(*(range(0, n, _BRICK) for n in self.shape)):
            block = slice(z, z + _BRICK), slice(y, y + _BRICK), slice(x, x + _BRICK)
            indices = [(np.arange(n)[s][:, None] + offsets).ravel() for n, s in zip(self.shape, block, strict=True)]
            yield block, self._lattice(indices)

    def _lattice(self, indices: Sequence[NDArray[np.float64]]) -> Points:
        z, y, x = (o + self.spacing * i for o, i in zip(self.origin[::-1], indices, strict=True))
        return np.stack(np.broadcast_arrays(x, y[:, None], z[:, None, None]), axis=-1)


class Scene:
    """Solids with their uptake (SUV) and their texture (a fraction); the later lie over the earlier."""

    def __init__(self, parts: Sequence[Part], texture: Texture) -> None:
        self._solids = [part.solid for part in parts]
        self._suv = np.array([part.tissue.suv for part in parts])
        self._roughness = np.array([part.tissue.texture for part in parts])
        self._texture = texture
        self._lower = np.array([solid.lower for solid in self._solids])
        self._upper = np.array([solid.upper for solid in self._solids])

    def uptake(self, points: Points) -> NDArray[np.float64]:
        """The SUV [z, y, x] at a lattice [z, y, x, 3] of anatomical points in mm."""
        # Two steps, since a reduction over all but the last axis at once is slow.
        lowest = points.min(axis=0).min(axis=(0, 1))
        highest = points.max(axis=0).max(axis=(0, 1))
        near = (self._lower < highest).all(axis=1) & (self._upper > lowest).all(axis=1)
        filling = np.full(points.shape[:-1], -1)
        for index in np.flatnonzero(near):
            filling[self._solids[index].contains(points)] = index
        suv = np.zeros(points.shape[:-1])
        body = filling >= 0
        tissue = filling[body]
        suv[body] = self._suv[tissue] * (1.0 + self._roughness[tissue] * self._texture(points[body]))
        return np.maximum(suv, 0.0)


def expose(scene: Scene, grid: Grid, motion: Callable[[Points], Points], samples: int = 2) -> NDArray[np.float64]:
    """The mean uptake [z, y, x] of each voxel, over `samples` points per axis that `motion` takes to the anatomy."""
    image = np.zeros(grid.shape)
    for block, points in grid.bricks(samples):
        fine = scene.uptake(motion(points))
        cells = [n for size in fine.shape for n in (size // samples, samples)]
        image[block] = fine.reshape(cells).mean(axis=(1, 3, 5))
    return image


def scan(activity: NDArray[np.float64], spacing: float, fwhm: float, noise: float, rng: np.random.Generator) -> Image:
    """The reconstructed image (SUV, float32) of a true activity [z, y, x] (SUV).

    `fwhm` (mm) is the resolution of the final image: part of it is the detectors', part the filter's that is put on the
    noise as well. `noise` is the relative standard deviation before the filter in 1 ml of SUV 1: counts make it grow
    with the root of the activity, and shrink with the root of the volume.
    """
    sigma = fwhm / FWHM / spacing
    blurred = gaussian_filter(activity, 0.8 * sigma, mode="nearest")
    millilitres = spacing**3 / 1000.0
    deviation = noise * np.sqrt((blurred + _BACKGROUND) / millilitres)
    noisy = blurred + deviation * rng.normal(size=activity.shape)
    return np.maximum(gaussian_filter(noisy, 0.6 * sigma, mode="nearest"), 0.0).astype(np.float32)
