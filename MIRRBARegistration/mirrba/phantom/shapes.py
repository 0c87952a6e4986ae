"""Solids as implicit functions of a point in millimetres: is this point inside?

Points are arrays [..., 3] in (x, y, z), LPS. Every solid knows the box it lies in, so that whoever samples an image
can leave out the solids that are far away.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Solid(ABC):
    """A region of space within the box from `lower` to `upper` (x, y, z in mm)."""

    lower: Points
    upper: Points

    @abstractmethod
    def contains(self, points: Points) -> Mask:
        """Whether each of the points [..., 3] (mm, LPS) lies inside."""


@dataclass(frozen=True, eq=False)
class Ellipsoid(Solid):
    """An ellipsoid with semi-axes `radii` (mm) along the columns of `axes`; `bump` makes it irregular.

    A point lies inside where |u| < 1 + bump · cos(wave · u), u being its position in units of the radii. The solid is
    star-shaped, hence in one piece, as long as bump · |wave| < 1.
    """

    centre: Points
    radii: Points
    axes: Points = field(default_factory=lambda: np.eye(3))
    bump: float = 0.0
    wave: Points = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        reach = (1.0 + self.bump) * np.sqrt(((self.axes * self.radii) ** 2).sum(axis=1))
        object.__setattr__(self, "lower", self.centre - reach)
        object.__setattr__(self, "upper", self.centre + reach)

    def contains(self, points: Points) -> Mask:
        u = (points - self.centre) @ (self.axes / self.radii)
        if self.bump == 0.0:
            return np.einsum("...i,...i->...", u, u) < 1.0
        return np.sqrt(np.einsum("...i,...i->...", u, u)) < 1.0 + self.bump * np.cos(u @ self.wave)


@dataclass(frozen=True, eq=False)
class Capsule(Solid):
    """A rod with round ends from `start` to `end` (mm); its radius goes evenly from one of `radii` to the other."""

    start: Points
    end: Points
    radii: tuple[float, float]

    def __post_init__(self) -> None:
        a, b = self.radii
        object.__setattr__(self, "lower", np.minimum(self.start - a, self.end - b))
        object.__setattr__(self, "upper", np.maximum(self.start + a, self.end + b))

    def contains(self, points: Points) -> Mask:
        along = self.end - self.start
        t = np.clip((points - self.start) @ (along / (along @ along)), 0.0, 1.0)
        offset = points - self.start - t[..., None] * along
        radius = self.radii[0] + t * (self.radii[1] - self.radii[0])
        return np.einsum("...i,...i->...", offset, offset) < radius**2


class Stack(Solid):
    """A solid of rounded-rectangular cross-sections along z, as a trunk has.

    `sections` has rows (z, half width in x, half depth in y, y of the middle), all in mm and by rising z; it ends where
    they end.
    """

    def __init__(self, sections: ArrayLike) -> None:
        rows = np.asarray(sections, dtype=np.float64)
        # A fine table of a smooth curve: np.interp on it is several times faster than evaluating the curve.
        self._z = np.arange(rows[0, 0], rows[-1, 0] + 4.0, 4.0)
        self._width, self._depth, self._middle = PchipInterpolator(rows[:, 0], rows[:, 1:])(self._z).T
        half, depth = rows[:, 1].max(), rows[:, 2] + np.abs(rows[:, 3])
        self.lower = np.array([-half, -depth.max(), rows[0, 0]])
        self.upper = np.array([half, depth.max(), rows[-1, 0]])

    def contains(self, points: Points) -> Mask:
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        u = (x / np.interp(z, self._z, self._width)) ** 2
        v = ((y - np.interp(z, self._z, self._middle)) / np.interp(z, self._z, self._depth)) ** 2
        # Squarer than an ellipse (u + v < 1), as a body lying on its back is.
        return (u * u + u * v + v * v < 1.0) & (z > self.lower[2]) & (z < self.upper[2])


class Union(Solid):
    """The points inside any of the parts."""

    def __init__(self, parts: Sequence[Solid]) -> None:
        self.parts = tuple(parts)
        self.lower = np.min([part.lower for part in parts], axis=0)
        self.upper = np.max([part.upper for part in parts], axis=0)

    def contains(self, points: Points) -> Mask:
        inside: Mask = np.zeros(points.shape[:-1], dtype=np.bool_)
        for part in self.parts:
            inside |= part.contains(points)
        return inside


def tube(path: ArrayLike, radius: float) -> tuple[Capsule, ...]:
    """Capsules of one radius (mm) along the points [n, 3] of a path."""
    nodes = np.asarray(path, dtype=np.float64)
    return tuple(Capsule(a, b, (radius, radius)) for a, b in itertools.pairwise(nodes))


def rotation(vector: ArrayLike) -> Points:
    """The rotation matrix [3, 3] about `vector` by its length in radians."""
    v = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(v))
    x, y, z = v / max(angle, 1e-300)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
