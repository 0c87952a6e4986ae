"""Where a grid of voxels lies in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .errors import InputError

MOST_VOXELS = 500_000_000  # a total-body PET at 1 mm has as many
SPACINGS = (0.01, 100.0)  # mm
LARGEST_EXTENT = 4000.0  # mm: no scan of a body, nor two of it, span more
FARTHEST = 1e6  # mm between a scanner's origin and a volume
SHEAR = 1e-3  # the cosine between two axes that still counts as a right angle


@dataclass(frozen=True)
class Geometry:
    """Size (x, y, z), spacing in mm, origin (centre of the first voxel) in LPS mm, direction row by row, as ITK."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @staticmethod
    def from_image(image: sitk.Image) -> Geometry:
        return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size as arrays have it: (z, y, x)."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """Direction times spacing: maps index (x, y, z) steps to mm, 3×3."""
        return np.array(self.direction).reshape(3, 3) * np.array(self.spacing)

    @property
    def extent(self) -> tuple[float, float, float]:
        """Outer face to outer face along its own axes (x, y, z), mm."""
        x, y, z = (n * s for n, s in zip(self.size, self.spacing, strict=True))
        return x, y, z

    def check(self, name: str) -> None:
        """Raises InputError, with the name, where no volume of a body can lie so."""
        if not all(SPACINGS[0] <= s <= SPACINGS[1] for s in self.spacing):
            raise InputError(f"{name}: has a voxel spacing of {times(self.spacing)} mm; correct the file's header.")
        if math.prod(self.size) > MOST_VOXELS:
            raise InputError(
                f"{name}: has {times(self.size)} voxels, more than {MOST_VOXELS / 1e6:g} million; "
                "crop or resample it first."
            )
        if max(self.extent) > LARGEST_EXTENT:
            raise InputError(
                f"{name}: is {times(self.extent)} mm large, longer than a body; correct the spacing in its header."
            )
        axes = np.array(self.direction).reshape(3, 3)
        if not np.abs(axes.T @ axes - np.eye(3)).max() <= SHEAR:
            raise InputError(f"{name}: has axes that are not at right angles; resample it first.")
        if not np.abs(self.origin).max() <= FARTHEST:
            raise InputError(f"{name}: has an origin of {times(self.origin)} mm; correct the file's header.")

    def point(self, index: Sequence[float]) -> tuple[float, float, float]:
        """LPS mm of a continuous index (x, y, z)."""
        x, y, z = np.array(self.origin) + self.matrix @ np.array(index, float)
        return float(x), float(y), float(z)

    def cropped(self, low: Sequence[int], high: Sequence[int]) -> Geometry:
        """Indices low ≤ i < high (x, y, z); beyond the grid they extend it."""
        x, y, z = (int(b) - int(a) for a, b in zip(low, high, strict=True))
        return replace(self, size=(x, y, z), origin=self.point(low))

    def padded(self, voxels: int) -> Geometry:
        return self.cropped([-voxels] * 3, [n + voxels for n in self.size])

    def resampled(self, spacing: float) -> Geometry:
        """The same volume, outer face to outer face, in isotropic voxels; the last ones may reach beyond it."""
        x, y, z = (max(1, math.ceil(e / spacing - 1e-6)) for e in self.extent)
        first = [(spacing / s - 1) / 2 for s in self.spacing]
        return replace(self, size=(x, y, z), spacing=(spacing,) * 3, origin=self.point(first))

    def padded_to(self, multiple: int) -> Geometry:
        """Grown on both sides until every side divides by `multiple`."""
        missing = [-n % multiple for n in self.size]
        low = [-(n // 2) for n in missing]
        return self.cropped(low, [n + m + a for n, m, a in zip(self.size, missing, low, strict=True)])

    def image(self, array: npt.NDArray[np.generic], is_vector: bool = False) -> sitk.Image:
        """An array `[z, y, x]` (or `[z, y, x, c]`) as an image lying here."""
        image = sitk.GetImageFromArray(array, isVector=is_vector)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def resample(
        self,
        image: sitk.Image,
        transform: sitk.Transform | None = None,
        interpolator: int = sitk.sitkLinear,
        continued: bool = False,
    ) -> sitk.Image:
        """`image` on this grid through `transform` (points of this grid → points of `image`).

        Outside of `image` 0, or, `continued`, its nearest voxel.
        """
        return sitk.Resample(
            image,
            list(self.size),
            transform or sitk.Transform(3, sitk.sitkIdentity),
            interpolator,
            list(self.origin),
            list(self.spacing),
            list(self.direction),
            0.0,
            image.GetPixelID(),
            continued,
        )


def times(values: Sequence[float]) -> str:
    """As sizes are written: 4 × 4 × 3."""
    return " × ".join(f"{value:g}" for value in values)
