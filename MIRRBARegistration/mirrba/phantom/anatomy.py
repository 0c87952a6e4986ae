"""A whole-body anatomy at baseline, as solids with an uptake of FDG (SUV) each; it varies with the seed.

The frame is the patient's own: +x left, +y back, +z up, mm; x = 0 is the midline, z = 0 the middle of the thighs and
z ≈ 900 the vertex. The patient lies with the arms raised. All positions below are those of one reference patient;
`_Patient` scales and jitters them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .shapes import Capsule, Ellipsoid, Points, Solid, Stack, Union, rotation, tube

# Rows: z, half width, half depth, y of the middle: the trunk and neck from the crotch to the base of the skull.
_TRUNK = (
    (38, 168, 88, 8), (60, 172, 98, 8), (110, 174, 106, 6), (160, 168, 106, 3), (220, 152, 98, 0), (280, 143, 97, -3),
    (340, 145, 102, -5), (420, 152, 108, -5), (500, 160, 110, -3), (570, 167, 104, 2), (620, 172, 94, 8),
    (650, 168, 82, 14), (672, 135, 68, 20), (692, 84, 58, 22), (712, 62, 54, 20), (740, 57, 55, 14), (790, 58, 60, 8),
)  # fmt: skip

# The middle of the vertebral bodies: z and y, from C1 down to L5; half heights follow from the distances.
_SPINE = (
    ("C1", 782, 14), ("C2", 766, 14), ("C3", 750, 15), ("C4", 735, 16), ("C5", 720, 19), ("C6", 705, 23),
    ("C7", 689, 29), ("T1", 671, 36), ("T2", 652, 43), ("T3", 632, 49), ("T4", 611, 54), ("T5", 590, 57),
    ("T6", 568, 59), ("T7", 546, 60), ("T8", 524, 59), ("T9", 501, 57), ("T10", 477, 54), ("T11", 452, 50),
    ("T12", 426, 45), ("L1", 398, 39), ("L2", 368, 33), ("L3", 337, 29), ("L4", 306, 29), ("L5", 275, 34),
)  # fmt: skip

_COLON = (
    (-92, -35, 205), (-104, -22, 250), (-106, -15, 300), (-98, -45, 322), (-50, -68, 300), (0, -72, 288),
    (50, -68, 305), (92, -35, 345), (112, 5, 365), (110, 10, 300), (104, 5, 240), (88, -15, 200), (45, -15, 175),
    (15, 20, 178), (5, 45, 150), (0, 52, 110),
)  # fmt: skip

# Lymph nodes of the left side: neck, clavicle, armpit, hilum, groin, iliac vessels.
_NODES = ((42, 2, 722), (70, -12, 668), (138, 6, 595), (34, 0, 565), (78, -62, 95), (46, -8, 165))


@dataclass(frozen=True)
class Tissue:
    """What a solid is filled with: an uptake (SUV), its texture as a fraction, and how much the uptake changes.

    `change` is the spread (standard deviation of the logarithm) of the factor between the two time points.
    """

    name: str
    suv: float
    texture: float = 0.12
    change: float = 0.08


@dataclass(frozen=True)
class Part:
    """One solid of a tissue. In a list of parts the later lies over the earlier."""

    tissue: Tissue
    solid: Solid


@dataclass(frozen=True, eq=False)
class Texture:
    """A smooth pattern attached to the tissue: plane waves of about 15–60 mm, mean 0 and standard deviation 1."""

    waves: Points
    phases: Points

    def __call__(self, points: Points) -> Points:
        """The pattern at anatomical points [n, 3] in mm."""
        return np.cos(points @ self.waves.T + self.phases).sum(axis=1) / np.sqrt(len(self.phases) / 2.0)


@dataclass(frozen=True, eq=False)
class Site:
    """Where a lesion of a kind ("bone", "node" or "liver") may grow: about `centre`, within `spread` mm."""

    kind: str
    centre: Points
    spread: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient at baseline.

    `parts` from the outermost to what lies over all others; `landmarks` are named points (mm, LPS); `sites` where
    lesions may grow; `organs` the solids that are segmented; `half_width` of the trunk in mm; `bladder_reach` how far
    (mm) the filling of the bladder is felt.
    """

    parts: tuple[Part, ...]
    body: Solid
    organs: dict[str, Solid]
    landmarks: dict[str, Points]
    sites: tuple[Site, ...]
    texture: Texture
    half_width: float
    bladder_reach: float


class _Patient:
    """Collects the parts of one patient, scaled and jittered from the reference patient."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.height = rng.uniform(0.96, 1.02)
        self.girth = rng.uniform(0.94, 1.1)
        self.parts: list[Part] = []
        self.landmarks: dict[str, Points] = {}
        self.sites: list[Site] = []

    def scale(self, z: float) -> Points:
        """The factors in x, y and z at a reference height; girth concerns the trunk, not the head."""
        trunk = float(np.interp(z, [680.0, 740.0], [1.0, 0.0]))
        across = 1.0 + (self.girth - 1.0) * trunk
        return np.array([across, across, self.height])

    def place(self, point: ArrayLike) -> Points:
        """A point of the reference patient in this patient."""
        p = np.asarray(point, dtype=np.float64)
        return p * self.scale(p[2])

    def path(self, points: Iterable[ArrayLike]) -> Points:
        return np.array([self.place(p) for p in points])

    def ellipsoid(self, centre: ArrayLike, radii: ArrayLike, tilt: ArrayLike = (0.0, 0.0, 0.0)) -> Ellipsoid:
        """An ellipsoid of the reference patient, with this patient's size, place and tilt (radians)."""
        middle = self.place(centre)
        size = np.asarray(radii, dtype=np.float64) * self.scale(float(np.asarray(centre)[2]))
        return Ellipsoid(middle, size * self.rng.uniform(0.94, 1.06, 3), rotation(tilt))

    def moved(self, centre: ArrayLike, by: float) -> Points:
        """A reference point that lies up to `by` mm elsewhere in this patient."""
        return np.asarray(centre, dtype=np.float64) + self.rng.uniform(-by, by, 3)

    def suv(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def add(self, tissue: Tissue, *solids: Solid) -> None:
        self.parts += [Part(tissue, solid) for solid in solids]

    def mark(self, name: str, solid: Ellipsoid, tips: str = "") -> None:
        """Name the centre of an organ and the tips asked for among l(eft), r(ight), t(op), b(ottom), f(ront)."""
        self.landmarks[f"{name} centre"] = solid.centre
        ways = {
            "l": ("left", 0, 1),
            "r": ("right", 0, -1),
            "t": ("top", 2, 1),
            "b": ("bottom", 2, -1),
            "f": ("front", 1, -1),
        }
        for tip in tips:
            word, axis, sign = ways[tip]
            self.landmarks[f"{name} {word}"] = solid.centre + sign * solid.radii[axis] * solid.axes[:, axis]


def _beside(point: Points, x: float, y: float, z: float) -> Points:
    return point + np.array([x, y, z])


def make_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a patient."""
    patient = _Patient(rng)
    body = _add_body(patient)
    _add_chest(patient)
    _add_abdomen(patient)
    _add_skeleton(patient)
    brain = _add_head(patient)
    bladder = _add_pelvis(patient)
    _add_node_sites(patient)
    return Anatomy(
        parts=tuple(patient.parts),
        body=body,
        organs={"brain": brain, "bladder": bladder},
        landmarks=patient.landmarks,
        sites=tuple(patient.sites),
        texture=_make_texture(rng),
        half_width=172.0 * patient.girth,
        bladder_reach=1.6 * float(bladder.radii.max()),
    )


def _make_texture(rng: np.random.Generator, count: int = 12) -> Texture:
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = rng.uniform(15.0, 60.0, size=(count, 1))
    return Texture(2.0 * np.pi / lengths * directions, rng.uniform(0.0, 2.0 * np.pi, count))


def _outline(p: _Patient, skin: float) -> list[Solid]:
    """The body's outline, `skin` mm below its surface."""
    sections = []
    for z, width, depth, middle in _TRUNK:
        across, deep, up = p.scale(z)
        sections.append((z * up, width * across - skin, depth * deep - skin, middle * deep))
    limbs: list[Solid] = []
    for side in (-1.0, 1.0):
        thigh = p.path([(side * 84, 2, 70), (side * 92, -4, -120)])
        limbs.append(Capsule(thigh[0], thigh[1], (86 * p.girth - skin, 72 * p.girth - skin)))
        arm = p.path([(side * 142, 22, 640), (side * 188, 18, 735), (side * 208, 2, 960)])
        limbs.append(Capsule(arm[0], arm[1], (62 * p.girth - skin, 50 * p.girth - skin)))
        limbs.append(Capsule(arm[1], arm[2], (50 * p.girth - skin, 39 * p.girth - skin)))
    height = p.height
    skull = Ellipsoid(np.array([0, -2, 818]) * [1, 1, height], np.array([76.0, 98.0, 88.0]) - skin)
    face = Ellipsoid(np.array([0, -38, 762]) * [1, 1, height], np.array([55.0, 56.0, 62.0]) - skin)
    return [Stack(sections), *limbs, skull, face]


def _add_body(p: _Patient) -> Solid:
    fat = p.rng.uniform(6.0, 14.0)
    outline = _outline(p, 0.0)
    p.add(Tissue("fat", p.suv(0.3, 0.45), 0.15), *outline)
    p.add(Tissue("muscle", p.suv(0.65, 0.9), 0.2), *_outline(p, fat))
    return Union(outline)


def _add_chest(p: _Patient) -> None:
    lungs = Tissue("lungs", p.suv(0.3, 0.42), 0.2)
    for side, word, low in ((-1.0, "right", 0.0), (1.0, "left", -8.0)):
        lung = p.ellipsoid((side * 78, 10, 520 + low / 2), (60, 82, 138 - low / 2), (0, side * 0.06, 0))
        p.add(lungs, lung)
        p.mark(f"{word} lung", lung, "t")
    blood = Tissue("blood", p.suv(1.2, 1.7), 0.08)
    p.add(blood, p.ellipsoid((2, -14, 575), (24, 34, 80)))
    heart = p.moved((30, -38, 497), 5.0)
    p.add(blood, p.ellipsoid(_beside(heart, -26, -4, 4), (38, 40, 44)))
    tilt = (0.5, 0.7, 0.0)
    outer = p.ellipsoid(_beside(heart, 16, -4, 0), (35, 35, 46), tilt)
    cavity = Ellipsoid(outer.centre + 9.0 * outer.axes[:, 2], 0.62 * outer.radii, outer.axes)
    # Fed or fasting: the heart's own uptake is the least predictable of all.
    p.add(Tissue("myocardium", p.suv(2.0, 8.0), 0.1, 0.45), outer)
    p.add(blood, cavity)
    p.mark("heart", outer, "lf")
    p.add(
        blood,
        *tube(p.path([(6, -30, 560), (14, 5, 600), (20, 38, 580), (16, 34, 470), (6, 8, 380), (3, 2, 262)]), 10.0),
    )


def _add_abdomen(p: _Patient) -> None:
    domes = Tissue("abdominal wall and fat", p.suv(0.6, 0.85), 0.2)
    p.add(domes, p.ellipsoid((-70, -5, 400), (67, 84, 80)), p.ellipsoid((68, -5, 385), (66, 82, 78)))
    liver = Tissue("liver", p.suv(2.0, 2.5), 0.06)
    right = p.ellipsoid(p.moved((-72, -2, 404), 4.0), (62, 74, 68), (0, 0.15, 0))
    tip = p.ellipsoid((-100, 4, 350), (32, 52, 62), (0, 0.12, 0))
    left = p.ellipsoid(p.moved((-12, -42, 424), 4.0), (66, 38, 40), (0, 0.25, 0))
    p.add(liver, right, tip, left)
    p.mark("liver", right, "trf")
    p.mark("lower liver", tip, "b")
    p.mark("left liver lobe", left, "l")
    for _ in range(6):
        p.sites.append(Site("liver", right.centre, 40.0))
    spleen = p.ellipsoid(p.moved((99, 36, 412), 4.0), (27, 37, 48), (-0.3, -0.15, 0))
    p.add(Tissue("spleen", p.suv(1.6, 2.0), 0.06), spleen)
    p.mark("spleen", spleen, "tb")
    stomach = p.ellipsoid(p.moved((66, -34, 402), 6.0), (34, 38, 48), (0, -0.4, 0))
    p.add(Tissue("stomach wall", p.suv(1.6, 2.6), 0.2, 0.2), stomach)
    p.add(Tissue("stomach", 0.8, 0.1), Ellipsoid(stomach.centre, 0.72 * stomach.radii, stomach.axes))
    p.add(
        Tissue("pancreas", p.suv(1.2, 1.7), 0.15), *tube(p.path([(-30, -20, 352), (0, -32, 366), (60, 8, 386)]), 11.0)
    )
    for side, word, low in ((-1.0, "right", 0.0), (1.0, "left", 12.0)):
        _add_kidney(p, side, word, low)
    _add_bowel(p)


def _add_kidney(p: _Patient, side: float, word: str, low: float) -> None:
    kidney = p.ellipsoid(p.moved((side * 66, 42, 330 + low), 4.0), (27, 25, 52), (0, side * 0.2, 0))
    p.add(Tissue("kidneys", p.suv(2.4, 3.4), 0.15, 0.15), kidney)
    pelvis = Ellipsoid(_beside(kidney.centre, -side * 11.0, -4.0, 0.0), np.array([7.0, 8.0, 17.0]), kidney.axes)
    urine = Tissue("renal pelvis", p.suv(4.0, 9.0), 0.1, 0.3)
    p.add(urine, pelvis)
    # Urine is seen along a stretch of the ureter, another in every patient.
    course = p.path([(side * 48, 28, 290), (side * 42, 22, 230), (side * 52, 38, 170), (side * 24, 15, 118)])
    piece = int(p.rng.integers(0, 3))
    p.add(urine, *tube(course[piece : piece + 2], 3.0))
    p.mark(f"{word} kidney", kidney, "tb")


def _add_bowel(p: _Patient) -> None:
    colon = p.path(p.moved(node, 8.0) for node in _COLON)
    for capsule in tube(colon, 16.0):
        p.add(Tissue("colon", p.suv(0.8, 2.4), 0.45, 0.25), capsule)
    p.landmarks["caecum"] = colon[0]
    p.landmarks["splenic flexure"] = colon[8]
    for _ in range(14):
        place = np.array([0, -45, 225]) + p.rng.uniform(-1, 1, 3) * [62, 16, 60]
        loop = p.ellipsoid(place, (26, 13, 13), p.rng.normal(size=3))
        p.add(Tissue("small bowel", p.suv(0.8, 1.9), 0.4, 0.25), loop)


def _add_skeleton(p: _Patient) -> None:
    marrow = Tissue("marrow", p.suv(1.2, 1.8), 0.15, 0.12)
    for index, (name, z, y) in enumerate(_SPINE):
        level = index / (len(_SPINE) - 1)
        half_width, half_height = 9.0 + 15.0 * level, 5.5 + 7.5 * level
        vertebra = p.ellipsoid((0, y, z), (half_width, 0.75 * half_width, half_height))
        p.add(marrow, vertebra, *_arch(p, y, z, level))
        p.landmarks[name] = vertebra.centre
        p.sites.append(Site("bone", vertebra.centre, 8.0))
    sacrum = p.ellipsoid((0, 58, 215), (42, 16, 48), (-0.45, 0, 0))
    p.add(marrow, sacrum, p.ellipsoid((0, -86, 560), (15, 6, 66), (-0.12, 0, 0)))
    p.mark("sacrum", sacrum)
    p.sites += [Site("bone", sacrum.centre, 25.0), Site("bone", p.place((0, -80, 560)), 18.0)]
    faint = Tissue("long bones", p.suv(0.8, 1.1), 0.15, 0.12)
    for side, word in ((-1.0, "right"), (1.0, "left")):
        ilium = p.ellipsoid((side * 78, 38, 205), (11, 46, 54), (-0.35, side * 0.35, side * 0.5))
        p.add(marrow, ilium, p.ellipsoid((side * 52, 10, 95), (16, 22, 34), (0, -side * 0.2, 0)))
        p.mark(f"{word} ilium", ilium)
        femur = p.path([(side * 90, 5, 118), (side * 118, 12, 88), (side * 108, 0, -110)])
        p.add(faint, *tube(femur, 13.0), p.ellipsoid((side * 90, 5, 118), (23, 23, 23)))
        p.landmarks[f"{word} femoral head"] = femur[0]
        humerus = p.path([(side * 152, 24, 652), (side * 188, 18, 735), (side * 206, 4, 960)])
        p.add(faint, *tube(humerus, 10.0), p.ellipsoid((side * 152, 24, 652), (20, 20, 20)))
        p.landmarks[f"{word} humeral head"] = humerus[0]
        p.sites += [Site("bone", ilium.centre, 22.0), Site("bone", femur[0], 15.0), Site("bone", humerus[0], 10.0)]
        p.sites += [Site("bone", p.place((side * 118, 45, z)), 20.0) for z in (480, 540)]  # ribs


def _arch(p: _Patient, y: float, z: float, level: float) -> list[Solid]:
    """The spinous process behind a vertebral body, so that the spine is not a string of beads from the side."""
    start, end = p.path([(0, y + 14 + 10 * level, z - 2), (0, y + 30 + 18 * level, z - 8)])
    return [Capsule(start, end, (4.0 + 2.0 * level, 3.0 + 2.0 * level))]


def _add_head(p: _Patient) -> Solid:
    rng = p.rng
    middle = p.place((0, 0, 833))
    size = np.array([66.0, 84.0, 58.0]) * rng.uniform(0.95, 1.04, 3)
    cerebrum = Ellipsoid(middle, size)
    cerebellum = Ellipsoid(_beside(middle, 0.0, 38.0, -46.0), np.array([46.0, 32.0, 24.0]) * rng.uniform(0.95, 1.05, 3))
    cortex = p.suv(8.0, 10.0)
    p.add(Tissue("cerebellum", 0.75 * cortex, 0.1), cerebellum)
    brainstem = Capsule(_beside(middle, 0.0, 14.0, -30.0), _beside(middle, 0.0, 20.0, -62.0), (12.0, 12.0))
    p.add(Tissue("brainstem", 0.45 * cortex, 0.05), brainstem)
    temporal = [Ellipsoid(_beside(middle, s * 38.0, -14.0, -32.0), np.array([22.0, 38.0, 20.0])) for s in (-1.0, 1.0)]
    p.add(Tissue("cortex", cortex, 0.14), cerebrum, *temporal)
    white = Tissue("white matter", 0.38 * cortex, 0.08)
    for side in (-1.0, 1.0):
        p.add(white, Ellipsoid(_beside(middle, side * 28.0, 0.0, 2.0), size * [0.37, 0.76, 0.66]))
    deep = Tissue("deep grey matter", 0.95 * cortex, 0.05)
    for side in (-1.0, 1.0):
        p.add(deep, Ellipsoid(_beside(middle, side * 14.0, 12.0, -6.0), np.array([9.0, 15.0, 10.0])))
        p.add(deep, Ellipsoid(_beside(middle, side * 24.0, -12.0, -2.0), np.array([8.0, 22.0, 12.0])))
    fissure = Ellipsoid(_beside(middle, 0.0, 0.0, 32.0), np.array([2.5, 66.0, 25.0]))
    p.add(Tissue("fissure", 0.5 * cortex, 0.05), fissure)
    p.mark("brain", cerebrum, "lrtf")
    throat = Tissue("pharynx", p.suv(1.6, 2.6), 0.15, 0.2)
    p.add(throat, Ellipsoid(p.place((0, -10, 762)), np.array([20.0, 9.0, 12.0])))
    p.add(throat, Ellipsoid(p.place((0, -18, 715)), np.array([9.0, 9.0, 7.0])))
    for side in (-1.0, 1.0):
        p.add(throat, Ellipsoid(p.place((side * 26, -34, 742)), np.array([8.0, 16.0, 8.0])))
        p.add(throat, Ellipsoid(p.place((side * 46, 2, 765)), np.array([7.0, 10.0, 17.0])))
    return Union([cerebrum, cerebellum, *temporal])


def _add_pelvis(p: _Patient) -> Ellipsoid:
    p.add(Tissue("pelvic floor", p.suv(1.0, 1.4), 0.15), p.ellipsoid((0, 10, 72), (16, 30, 18)))
    bladder = p.ellipsoid(p.moved((0, -34, 108), 4.0), (48, 37, 31), (0.25, 0, 0))
    p.add(Tissue("bladder", p.suv(8.0, 20.0), 0.0, 0.3), bladder)
    p.mark("bladder", bladder, "lrt")
    return bladder


def _add_node_sites(p: _Patient) -> None:
    for side in (-1.0, 1.0):
        for x, y, z in _NODES:
            p.sites.append(Site("node", p.place((side * x, y, z)), 12.0))
    p.sites += [Site("node", p.place((18, 0, z)), 14.0) for z in (290, 330)]
