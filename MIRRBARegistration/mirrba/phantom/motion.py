"""How the patient at follow-up differs from the patient at baseline, as one exact diffeomorphism.

A motion maps points of the follow-up (fixed) image to points of the baseline (moving) image, [..., 3] in mm, LPS. It is
a chain of simple steps, each one-to-one with a positive Jacobian determinant, so the chain is, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .anatomy import Anatomy
from .shapes import Points, rotation


@dataclass(frozen=True, eq=False)
class Reposition:
    """The patient lies elsewhere on the couch: a rotation about `centre`, then a translation (mm)."""

    rotation: Points
    centre: Points
    translation: Points

    def __call__(self, points: Points) -> Points:
        return (points - self.centre) @ self.rotation.T + (self.centre + self.translation)


@dataclass(frozen=True)
class Weight:
    """Everything below the shoulders grows or shrinks across the body axis, by `change` as a fraction."""

    change: float
    shoulders: float

    def __call__(self, points: Points) -> Points:
        moved = points.copy()
        moved[..., :2] *= (1.0 + self.change * expit((self.shoulders - points[..., 2]) / 35.0))[..., None]
        return moved


@dataclass(frozen=True)
class Breathing:
    """The diaphragm and what hangs on it go up or down by `descent` mm; the chest deepens by a fraction."""

    descent: float
    deepening: float
    diaphragm: float
    back: float

    def __call__(self, points: Points) -> Points:
        moved = points.copy()
        near = np.exp(-0.5 * ((points[..., 2] - self.diaphragm) / 90.0) ** 2)
        # The spine keeps its place, the front of the body moves.
        mobile = expit((self.back - 40.0 - points[..., 1]) / 25.0)
        moved[..., 2] += self.descent * near * (0.3 + 0.7 * mobile)
        moved[..., 1] += self.deepening * near * (points[..., 1] - self.back)
        return moved


@dataclass(frozen=True, eq=False)
class Posture:
    """The spine bends: a sideways and a forward shift (x, y in mm), largest at the height `level`."""

    shift: Points
    level: float

    def __call__(self, points: Points) -> Points:
        moved = points.copy()
        near = np.exp(-0.5 * ((points[..., 2] - self.level) / 150.0) ** 2)
        moved[..., :2] += near[..., None] * self.shift
        return moved


@dataclass(frozen=True, eq=False)
class HeadTurn:
    """The head turns about the neck: around `axis` (unit vector) by `angle` radians."""

    axis: Points
    angle: float
    neck: Points

    def __call__(self, points: Points) -> Points:
        v = points - self.neck
        angle = (self.angle * expit(v[..., 2] / 22.0))[..., None]
        along = (v @ self.axis)[..., None] * self.axis
        # Rodrigues' formula, with an angle that rises from nought below the neck to its full size in the head.
        return self.neck + along + np.cos(angle) * (v - along) + np.sin(angle) * np.cross(self.axis, v)


@dataclass(frozen=True, eq=False)
class ArmMove:
    """One raised arm lies elsewhere: a shift (mm) of what is lateral of `inner` and above the shoulders."""

    shift: Points
    side: float
    inner: float
    shoulders: float

    def __call__(self, points: Points) -> Points:
        lateral = expit((self.side * points[..., 0] - self.inner) / 22.0)
        above = expit((points[..., 2] - self.shoulders) / 40.0)
        return points + (lateral * above)[..., None] * self.shift


@dataclass(frozen=True, eq=False)
class BladderFilling:
    """The bladder fills or empties, and pushes its surroundings: a radial scaling that fades with distance."""

    change: float
    centre: Points
    reach: float

    def __call__(self, points: Points) -> Points:
        v = points - self.centre
        near = np.exp(-0.5 * np.einsum("...i,...i->...", v, v) / self.reach**2)
        return points + self.change * near[..., None] * v


Step = Reposition | Weight | Breathing | Posture | HeadTurn | ArmMove | BladderFilling


@dataclass(frozen=True)
class Motion:
    """The chain of the steps, first to last: from points of the follow-up to points of the baseline."""

    steps: tuple[Step, ...]

    def __call__(self, points: Points) -> Points:
        """Map points [..., 3] (mm, LPS) of the fixed image to the moving image."""
        for step in self.steps:
            points = step(points)
        return points

    def jacobian(self, points: Points, step: float = 0.01) -> Points:
        """The Jacobian matrices [..., 3, 3] at the points, by central differences of `step` mm."""
        nudges = step * np.eye(3)
        columns = [(self(points + nudge) - self(points - nudge)) / (2.0 * step) for nudge in nudges]
        return np.stack(columns, axis=-1)

    def inverse(self, targets: Points) -> Points:
        """The fixed points [..., 3] that map to the moving points `targets`, by Newton's method."""
        points = targets.copy()
        for _ in range(30):
            error = self(points) - targets
            if np.abs(error).max() < 1e-9:
                return points
            points = points - np.linalg.solve(self.jacobian(points), error[..., None])[..., 0]
        raise ArithmeticError("the motion could not be inverted")


def _signed(rng: np.random.Generator, low: float, high: float) -> float:
    """A number of magnitude low … high and of either sign."""
    return float(rng.uniform(low, high) * rng.choice([-1.0, 1.0]))


def _direction(rng: np.random.Generator) -> Points:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def random_motion(anatomy: Anatomy, rng: np.random.Generator) -> Motion:
    """Draw how one patient moved, breathed, drank and ate between two examinations some months apart."""
    at = anatomy.landmarks
    shoulders = float(at["T1"][2])
    middle = at["L1"] + [0.0, -40.0, 0.0]
    turn = _direction(rng) * np.radians(rng.uniform(1.5, 4.5))
    shift = _direction(rng) * rng.uniform(8.0, 30.0)
    arms = [
        ArmMove(_direction(rng) * rng.uniform(10.0, 28.0), side, 0.75 * anatomy.half_width, shoulders)
        for side in (-1.0, 1.0)
    ]
    return Motion(
        (
            Reposition(rotation(turn), middle, shift),
            Weight(_signed(rng, 0.02, 0.06), shoulders),
            Breathing(
                _signed(rng, 10.0, 20.0), _signed(rng, 0.01, 0.05), float(at["liver top"][2]), float(at["T10"][1])
            ),
            Posture(np.array([_signed(rng, 10.0, 26.0), _signed(rng, 6.0, 18.0)]), float(at["L1"][2])),
            HeadTurn(_direction(rng), np.radians(rng.uniform(4.0, 9.0)), at["C5"]),
            *arms,
            BladderFilling(_signed(rng, 0.1, 0.2), at["bladder centre"], anatomy.bladder_reach),
        )
    )
