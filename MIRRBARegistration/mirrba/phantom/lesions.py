"""Lesions and their fates between the two time points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .anatomy import Site
from .shapes import Ellipsoid, Mask, Points, Solid, rotation

LESION_COLOR = (0.86, 0.24, 0.2)

FATES = ("vanish", "shrink", "stay", "grow", "appear")
_FREQUENCIES = (0.15, 0.25, 0.35, 0.15, 0.10)

# Mean radius at the larger of the two time points (mm), and SUV.
_RADII = {"bone": (12.0, 18.0), "node": (9.0, 15.0), "liver": (12.0, 18.0)}
_SUVS = {"bone": (4.0, 12.0), "node": (4.0, 15.0), "liver": (5.0, 12.0)}
_GAP = 4.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion, in the anatomy at baseline (mm, LPS): a radius of 0 means that it is not there at that time.

    `shape` is its form at a mean radius of 1 mm about the origin.
    """

    name: str
    kind: str
    fate: str
    centre: Points
    shape: Ellipsoid
    baseline_radius: float
    followup_radius: float
    baseline_suv: float
    followup_suv: float

    def at_baseline(self) -> Ellipsoid | None:
        return self._solid(self.baseline_radius)

    def at_followup(self) -> Ellipsoid | None:
        """The lesion at follow-up, in the anatomy at baseline."""
        return self._solid(self.followup_radius)

    def _solid(self, radius: float) -> Ellipsoid | None:
        if radius == 0.0:
            return None
        form = self.shape
        return Ellipsoid(self.centre, radius * form.radii, form.axes, form.bump, form.wave)


class Body(Protocol):
    def contains(self, points: Points) -> Mask:
        """Whether each of the points [..., 3] (mm, LPS) lies inside."""


class Room(Protocol):
    """Where lesions may grow (an `Anatomy` tells it): at the sites, inside the body, outside of the organs."""

    @property
    def sites(self) -> tuple[Site, ...]: ...

    @property
    def body(self) -> Body: ...

    @property
    def organs(self) -> dict[str, Solid]: ...


def make_lesions(room: Room, rng: np.random.Generator) -> tuple[Lesion, ...]:
    """Draw 8–25 lesions, every fate among them, apart from each other and from the organs.

    Raises ArithmeticError where they do not fit.
    """
    count = int(rng.integers(8, 26))
    fates = [*FATES, *rng.choice(FATES, size=count - len(FATES), p=_FREQUENCIES)]
    lesions: list[Lesion] = []
    for number, index in enumerate(rng.permutation(count), start=1):
        lesions.append(_place(f"lesion {number:02d}", str(fates[index]), room, lesions, rng))
    return tuple(lesions)


def _place(
    name: str, fate: str, room: Room, others: Sequence[Lesion], rng: np.random.Generator, tries: int = 2000
) -> Lesion:
    kinds = sorted(_RADII)
    for _ in range(tries):
        kind = kinds[rng.choice(len(kinds), p=(0.55, 0.15, 0.3))]
        sites = [site for site in room.sites if site.kind == kind]
        lesion = _draw(name, fate, sites[rng.integers(len(sites))], rng)
        if _fits(lesion, room, others):
            return lesion
    raise ArithmeticError(f"no room for {name}")


def _draw(name: str, fate: str, site: Site, rng: np.random.Generator) -> Lesion:
    direction = rng.normal(size=3)
    centre = site.centre + site.spread * rng.uniform() ** (1 / 3) * direction / np.linalg.norm(direction)
    stretch = rng.uniform(0.8, 1.25, 3)
    wave = rng.normal(size=3)
    shape = Ellipsoid(
        np.zeros(3),
        stretch / np.cbrt(stretch.prod()),
        rotation(rng.uniform(-np.pi, np.pi, 3)),
        bump=float(rng.uniform(0.05, 0.2)),
        wave=3.0 * wave / np.linalg.norm(wave),
    )
    large, suv = float(rng.uniform(*_RADII[site.kind])), float(rng.uniform(*_SUVS[site.kind]))
    before, after = _radii(fate, large, rng)
    response = {"shrink": rng.uniform(0.6, 0.9), "grow": rng.uniform(1.1, 1.4)}.get(fate, 1.0)
    return Lesion(name, site.kind, fate, centre, shape, before, after, suv, float(np.clip(suv * response, 4.0, 15.0)))


def _radii(fate: str, large: float, rng: np.random.Generator) -> tuple[float, float]:
    """The mean radii (mm) at baseline and at follow-up."""
    small = max(6.0, large * float(rng.uniform(0.55, 0.8)))
    return {
        "vanish": (large, 0.0),
        "shrink": (large, small),
        "stay": (large, large),
        "grow": (small, large),
        "appear": (0.0, large),
    }[fate]


def _fits(lesion: Lesion, room: Room, others: Sequence[Lesion]) -> bool:
    if any(np.linalg.norm(lesion.centre - other.centre) < _reach(lesion) + _reach(other) + _GAP for other in others):
        return False
    around = lesion.centre + (_reach(lesion) + _GAP) * _DIRECTIONS
    return bool(room.body.contains(around).all()) and not any(_touches(organ, around) for organ in room.organs.values())


def _touches(organ: Solid, points: Points) -> bool:
    inside: Mask = organ.contains(points)
    return bool(inside.any())


def _reach(lesion: Lesion) -> float:
    """The radius (mm) of a ball that holds the lesion at both time points."""
    large = max(lesion.baseline_radius, lesion.followup_radius)
    return large * float(lesion.shape.radii.max()) * (1.0 + lesion.shape.bump)


def _ball() -> Points:
    """The 26 directions to the neighbours on a cubic lattice, as unit vectors."""
    steps = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = steps[np.abs(steps).sum(axis=1) > 0]
    return steps / np.linalg.norm(steps, axis=1, keepdims=True)


_DIRECTIONS = _ball()
