"""A longitudinal pair: one patient, two examinations, and everything that is true about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .anatomy import Anatomy, Part, Tissue, make_anatomy
from .lesions import Lesion, make_lesions
from .motion import Motion, random_motion
from .scanner import Grid, Image, Scene, expose, scan
from .shapes import Mask, Points, Solid

# The field of view in the frame of the scanner, where the patient at baseline lies straight: middle and size, x y z.
_FIELD_MIDDLE = np.array([0.0, 0.0, 462.0])
_FIELD_SIZE = np.array([530.0, 320.0, 930.0])


@dataclass(frozen=True, eq=False)
class Scan:
    """One examination: the image [z, y, x] in SUV, its grid, and the true masks [z, y, x] by name of the segment.

    A voxel belongs to a mask where its centre is inside the solid. A lesion that is not there has no mask;
    one that is there but falls between the centres of voxels of 10 mm or more has an empty one.
    """

    image: Image
    grid: Grid
    masks: dict[str, Mask]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points in both images: `fixed` and `moving` are [n, 3] in mm, LPS; moving is the true image of fixed."""

    names: tuple[str, ...]
    fixed: Points
    moving: Points


@dataclass(frozen=True, eq=False)
class Pair:
    """Baseline (moving) and follow-up (fixed) of one patient, with the exact truth."""

    seed: int
    spacing: float
    fwhm: float
    noise: float
    fixed: Scan
    moving: Scan
    motion: Motion
    lesions: tuple[Lesion, ...]
    landmarks: Landmarks

    def true_transform(self, points: Points) -> Points:
        """Map points [..., 3] (mm, LPS) of the fixed image to the moving image, exactly."""
        return self.motion(np.asarray(points, dtype=np.float64))


def make_pair(spacing: float = 6.0, seed: int = 0, fwhm: float = 6.0, noise: float = 0.07) -> Pair:
    """Make the pair of one patient; the same arguments give the same pair, bit for bit.

    `spacing` (mm) is that of both images; `fwhm` (mm) and `noise` are the scanner's, see `scanner.scan`. They change
    neither the patient nor the motion, which are the seed's alone.
    """
    streams = np.random.SeedSequence(seed).spawn(7)
    for_anatomy, for_lesions, for_motion, for_uptake, for_grids, *for_noise = map(np.random.default_rng, streams)
    anatomy = make_anatomy(for_anatomy)
    lesions = make_lesions(anatomy, for_lesions)
    motion = random_motion(anatomy, for_motion)
    before = [_lesion_part(lesion, lesion.baseline_suv, solid) for lesion in lesions if (solid := lesion.at_baseline())]
    after = [_lesion_part(lesion, lesion.followup_suv, solid) for lesion in lesions if (solid := lesion.at_followup())]
    later = _months_later(anatomy.parts, for_uptake)

    def examine(parts: Sequence[Part], lesions: list[Part], motion: Motion, rng: np.random.Generator) -> Scan:
        grid = _draw_grid(spacing, for_grids)
        activity = expose(Scene([*parts, *lesions], anatomy.texture), grid, motion)
        segments = anatomy.organs | {part.tissue.name: part.solid for part in lesions}
        return Scan(scan(activity, spacing, fwhm, noise, rng), grid, _masks(segments, motion(grid.centres())))

    moving = examine(anatomy.parts, before, Motion(()), for_noise[0])
    fixed = examine(later, after, motion, for_noise[1])
    landmarks = _landmarks(anatomy, lesions, motion, fixed.grid)
    return Pair(seed, spacing, fwhm, noise, fixed, moving, motion, lesions, landmarks)


def _draw_grid(spacing: float, rng: np.random.Generator) -> Grid:
    """A grid over the field of view; no two examinations have quite the same."""
    size = _FIELD_SIZE + rng.uniform(-10.0, 10.0, 3)
    x, y, z = np.round(size / spacing).astype(int).tolist()
    middle = _FIELD_MIDDLE + rng.uniform(-6.0, 6.0, 3)
    first = middle - 0.5 * spacing * (np.array([x, y, z]) - 1)
    return Grid((z, y, x), spacing, (float(first[0]), float(first[1]), float(first[2])))


def _months_later(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """The same parts, the uptake of each tissue changed by a factor of its own."""
    changed: dict[Tissue, Tissue] = {}
    for part in parts:
        tissue = part.tissue
        if tissue not in changed:
            factor = float(np.clip(np.exp(tissue.change * rng.normal()), 0.5, 2.0))
            changed[tissue] = replace(tissue, suv=tissue.suv * factor)
    return [replace(part, tissue=changed[part.tissue]) for part in parts]


def _lesion_part(lesion: Lesion, suv: float, solid: Solid) -> Part:
    return Part(Tissue(lesion.name, suv), solid)


def _masks(segments: dict[str, Solid], points: Points) -> dict[str, Mask]:
    """Which of the anatomical points [z, y, x, 3] (mm) lie in each solid."""
    return {name: _contained(solid, points) for name, solid in segments.items()}


def _contained(solid: Solid, points: Points) -> Mask:
    near = ((points > solid.lower) & (points < solid.upper)).all(axis=-1)
    inside: Mask = np.zeros(points.shape[:-1], dtype=np.bool_)
    inside[near] = solid.contains(points[near])
    return inside


def _landmarks(anatomy: Anatomy, lesions: Sequence[Lesion], motion: Motion, fixed_grid: Grid) -> Landmarks:
    """The anatomical landmarks and the lesions that persist, as far as they lie in the fixed image."""
    lasting = {lesion.name: lesion.centre for lesion in lesions if lesion.fate not in ("vanish", "appear")}
    named = anatomy.landmarks | lasting
    fixed = motion.inverse(np.array(list(named.values())))
    seen = fixed_grid.holds(fixed)
    names = tuple(name for name, inside in zip(named, seen, strict=True) if inside)
    return Landmarks(names, fixed[seen], motion(fixed[seen]))
