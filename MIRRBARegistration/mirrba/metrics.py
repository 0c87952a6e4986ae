"""The scores of the paper (section 4.4): overlap, distance, detection, disappearing, regularity, landmark error.

Masks are boolean arrays [z, y, x]; spacings (x, y, z) in mm; transforms map fixed to moving points (mm, LPS).
A score that has nothing to be computed from is None.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .errors import InputError
from .geometry import LARGEST_EXTENT, Geometry
from .measures import NOTHING, compared, measured
from .segments import Box, Mask, Role, Segment, Segmentation, bounding_box
from .transforms import displacement_field

Fate = Literal["persisting", "vanished", "appeared"]
Floats = npt.NDArray[np.float64]

DETECTED = 0.5  # a lesion is detected above this overlap (section 4.4)
SLAB_VOXELS = 2**20  # a slab of vectors and its gradients stay near 100 MB


def dice(a: Mask, b: Mask) -> float | None:
    """Dice overlap 2|a∩b| / (|a|+|b|), from 0 to 1; None if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / total) if total else None


def overlap(warped: Mask, fixed: Mask) -> float | None:
    """Share of the fixed segment that the warped one covers; None if the fixed one is empty."""
    total = np.count_nonzero(fixed)
    return float(np.count_nonzero(warped & fixed) / total) if total else None


def average_hausdorff_mm(a: Mask, b: Mask, spacing: Iterable[float]) -> float | None:
    """Average Hausdorff distance between the surfaces of two segments, in mm; None if one is empty.

    The mean of the two directed averages: ½ (mean over p in ∂a of d(p, ∂b) + mean over q in ∂b of d(q, ∂a)), where
    ∂ are a segment's voxels with a face neighbour outside of it (beyond the array is outside) and d is the Euclidean
    distance of voxel centres. Surfaces, not volumes: the inside of a large segment would otherwise count as zeros.
    """
    if not (a.any() and b.any()):
        return None
    box = bounding_box(a | b)
    assert box is not None
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    sampling = tuple(spacing)[::-1]
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=sampling)
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=sampling)
    return float(to_b[surface_a].mean() + to_a[surface_b].mean()) / 2


def volume_ml(mask: Mask, geometry: Geometry) -> float:
    """Volume of a mask on its grid."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(geometry.matrix)) / 1000)


def jacobian_determinant(transform: sitk.Transform, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Determinant of the Jacobian of x → T(x) at every voxel, [z, y, x]: 1 keeps volume, ≤ 0 folds.

    Differences of T over the index axes, central inside and one-sided at the faces, divided by the determinant of
    the grid's own index-to-mm matrix: right on oblique and anisotropic grids. Computed slab by slab.
    Raises InputError if the grid is less than two voxels thick.
    """
    if min(geometry.size) < 2:
        raise InputError(f"a grid of {geometry.size} voxels has no Jacobian; give one of two voxels or more a side.")
    determinant = np.empty(geometry.shape, np.float32)
    for low, high in _slabs(geometry):
        # One plane more on either side: the differences between slabs are central too.
        first, last = max(low - 1, 0), min(high + 1, geometry.size[2])
        displacement = _displacement(transform, geometry, first, last)
        # columns[i] is ∂T/∂(index i), in the order x, y, z.
        columns = [np.gradient(displacement, axis=2 - i) + geometry.matrix[:, i] for i in range(3)]
        triple = np.einsum("...i,...i", columns[0], np.cross(columns[1], columns[2]))
        determinant[low:high] = (triple / np.linalg.det(geometry.matrix))[low - first : high - first]
    return determinant


def transform_error_mm(transform: sitk.Transform, truth: sitk.Transform, mask: Mask, grid: Geometry) -> float | None:
    """Target registration error over a mask on `grid`: mean |T(x) − T_true(x)| in mm; None if the mask is empty."""
    total = 0.0
    for low, high in _slabs(grid):
        error = _displacement(transform, grid, low, high) - _displacement(truth, grid, low, high)
        total += float(np.linalg.norm(error[mask[low:high]], axis=-1).sum())
    count = np.count_nonzero(mask)
    return float(total / count) if count else None


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Corresponding points, [n, 3] in (x, y, z), mm, LPS."""

    names: tuple[str, ...]
    fixed: Floats
    moving: Floats


def read_landmarks(path: str | Path) -> Landmarks:
    """Read a CSV with the columns name, fixed_x, fixed_y, fixed_z, moving_x, moving_y, moving_z (mm, LPS).

    Raises InputError if it cannot be read, lacks a column or a row, or holds something else than finite numbers.
    """
    columns = [f"{side}_{axis}" for side in ("fixed", "moving") for axis in "xyz"]
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in ["name", *columns] if column not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the landmarks cannot be read; give a comma-separated text file.") from error
    if missing:
        raise InputError(f"{path}: the landmarks lack the columns {', '.join(missing)}; add them.")
    if not rows:
        raise InputError(f"{path}: there are no landmarks in the file; add one a line.")
    points = np.array([_numbers(path, line, [row[c] for c in columns]) for line, row in enumerate(rows, 2)])
    return Landmarks(tuple(row["name"] for row in rows), points[:, :3], points[:, 3:])


def landmark_error_mm(transform: sitk.Transform, landmarks: Landmarks) -> float:
    """Target registration error: mean |T(fixed landmark) − moving landmark| in mm."""
    mapped = np.array([transform.TransformPoint(point) for point in landmarks.fixed.tolist()])
    return float(np.linalg.norm(mapped - landmarks.moving, axis=1).mean())


def evaluate(
    fixed: Segmentation | None = None,
    warped: Segmentation | None = None,
    moving: Segmentation | None = None,
    *,
    fixed_image: sitk.Image | None = None,
    moving_image: sitk.Image | None = None,
    inverse: sitk.Transform | None = None,
    jacobian: npt.NDArray[np.floating] | None = None,
    body: Mask | None = None,
    tre_mm: float | None = None,
) -> dict[str, Any]:
    """All scores of docs/architecture.md as plain Python values, ready for JSON.

    `fixed` and `warped` must lie on one lattice, with whatever extents; `moving` lies on its own. Without `fixed` the
    segments are listed with their measures alone. The images are the PETs, for the uptake in `warped` and `moving`;
    `inverse` maps moving to fixed points. `jacobian` (from `jacobian_determinant`) and `body` share one grid [z, y, x].
    `tre_mm` is passed on; `seconds` and `peak_memory_mb` are the run's to fill in.

    Segments correspond whose names are equal; of the others, those that alone on either side agree but for case and
    spaces. Where there are neither, a sole lesion segment (and a sole organ) of each correspond: "GTV" and "lesions". A
    segment persists if it has voxels in fixed and moving; without `moving`, everything that `warped` lists was in it,
    also what vanished by warping. `dice_organs`, `dice_lesions` and `detection_rate` are over persisting segments
    (section 4.4 removes the vanished from Dice, and does not say so of detection). A segment counts once however many
    lesions it bundles: for the paper's detection rate each lesion needs a segment of its own. `disappearing_rate` is
    the shrinkage 1 − warped / moving volume of vanished lesions, where a lesion that grew counts as 0;
    `disappearing_rate_signed` lets it count as negative.

    Raises InputError if `fixed` and `warped` lie on different lattices.
    """
    if fixed is not None:
        warped, moving = _named_as(fixed, warped), _named_as(fixed, moving)
    segments = [] if warped is None else segment_scores(fixed, warped, moving)
    in_warped, in_moving = measured(warped, fixed_image), measured(moving, moving_image)
    in_fixed = measured(fixed, fixed_image)
    for segment in segments:
        name = segment["name"]
        after = in_fixed if segment["fate"] == "appeared" else in_warped
        segment |= compared(after.get(name, NOTHING), in_moving.get(name, NOTHING), inverse)
    persisting = [s for s in segments if s["fate"] == "persisting"]
    lesions = [s for s in persisting if s["role"] == "lesion"]
    vanished = [s for s in segments if s["role"] == "lesion" and s["fate"] == "vanished" and s["moving_ml"]]
    shrinkage = [1 - (s["warped_ml"] or 0.0) / s["moving_ml"] for s in vanished]
    return {
        "segments": segments,
        "dice_organs": _mean(s["dice"] for s in persisting if s["role"] == "organ"),
        "dice_lesions": _mean(s["dice"] for s in lesions),
        "detection_rate": _mean(float(s["overlap"] > DETECTED) for s in lesions),
        "disappearing_rate": _mean(max(0.0, s) for s in shrinkage),
        "disappearing_rate_signed": _mean(shrinkage),
        "sd_jacobian": _deviation(jacobian),
        "sd_jacobian_body": None if jacobian is None or body is None else _deviation(jacobian[body]),
        "folding_fraction": None if jacobian is None else float(np.mean(jacobian <= 0)),
        "tre_mm": tre_mm,
        "seconds": None,
        "peak_memory_mb": None,
    }


def segment_scores(
    fixed: Segmentation | None, warped: Segmentation, moving: Segmentation | None
) -> list[dict[str, Any]]:
    """The scores of every segment, in the order of `fixed`, then of the others; see `evaluate`."""
    if fixed is not None:
        fixed, warped = _on_one_grid(fixed, warped)
    given = (fixed, warped, moving)
    by_name = [_by_name(segmentation) for segmentation in given]
    boxes = [{} if segmentation is None else segmentation.boxes() for segmentation in given]
    scores = []
    for name in {name: None for segments in by_name for name in segments}:
        f, w, m = (segments.get(name) for segments in by_name)
        f_box, w_box, m_box = (found.get(name) for found in boxes)
        role = next(segment.role for segment in (f, w, m) if segment)
        was_there = w is not None if moving is None else m_box is not None
        fate = None if fixed is None else _fate(role, f_box is not None, was_there)
        score = {
            "name": name,
            "role": role,
            "dice": None,
            "average_hausdorff_mm": None,
            "fixed_ml": _volume_ml(f, f_box, fixed),
            "moving_ml": _volume_ml(m, m_box, moving),
            "warped_ml": _volume_ml(w, w_box, warped),
            "overlap": None,
            "fate": fate,
        }
        if fixed is not None and f is not None and f_box is not None and fate == "persisting":
            box = f_box if w_box is None else _around(f_box, w_box)
            there = f.within(box)
            # The warped segmentation may lack what vanished by warping: it counts as missed.
            here = np.zeros_like(there) if w is None else w.within(box)
            score["dice"] = dice(here, there)
            score["average_hausdorff_mm"] = average_hausdorff_mm(here, there, fixed.geometry.spacing)
            score["overlap"] = overlap(here, there)
        scores.append(score)
    return scores


def _fate(role: Role, in_fixed: bool, in_moving: bool) -> Fate | None:
    """What the masks tell of a segment between moving and fixed; organs do not come and go."""
    if in_fixed and in_moving:
        return "persisting"
    if role == "organ" or not (in_fixed or in_moving):
        return None
    return "appeared" if in_fixed else "vanished"


def _named_as(fixed: Segmentation, other: Segmentation | None) -> Segmentation | None:
    """`other` with the names of the fixed segments that its own correspond to; see `evaluate`."""
    if other is None:
        return None
    ours, theirs = ([segment.name for segment in one.segments] for one in (fixed, other))
    shared = set(ours) & set(theirs)
    names = _alike([name for name in theirs if name not in shared], [name for name in ours if name not in shared])
    if not shared and not names:
        names = _sole(other, fixed)
    segments = tuple(replace(segment, name=names.get(segment.name, segment.name)) for segment in other.segments)
    return Segmentation(segments, other.geometry)


def _alike(theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Their names to ours of the same letters, where each side has one of these."""
    found = []
    for names in (theirs, ours):
        by_plain: dict[str, list[str]] = {}
        for name in names:
            by_plain.setdefault(_plain(name), []).append(name)
        found.append({plain: same[0] for plain, same in by_plain.items() if len(same) == 1})
    return {name: found[1][plain] for plain, name in found[0].items() if plain in found[1]}


def _sole(theirs: Segmentation, ours: Segmentation) -> dict[str, str]:
    """Their names to ours of the roles that each has one segment of."""
    names = {}
    for role in ("organ", "lesion"):
        pair = [[s.name for s in one.segments if s.role == role] for one in (theirs, ours)]
        if len(pair[0]) == len(pair[1]) == 1:
            names[pair[0][0]] = pair[1][0]
    return names


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _on_one_grid(fixed: Segmentation, warped: Segmentation) -> tuple[Segmentation, Segmentation]:
    """Both on the smallest grid that holds them; InputError if they lie on different lattices."""
    ours, theirs = fixed.geometry, warped.geometry
    offset = np.linalg.solve(ours.matrix, np.subtract(theirs.origin, ours.origin))
    whole = np.round(offset)
    # A hundredth of a voxel, over the whole extent: files round spacings and directions.
    far = np.abs(ours.matrix - theirs.matrix) @ theirs.size / min(ours.spacing)
    if np.abs(offset - whole).max() > 0.01 or far.max() > 0.01:
        raise InputError(
            "the fixed and the warped segmentation lie on different grids; give the one that the registration wrote "
            "on the fixed image's grid, with that image's segmentation."
        )
    low = np.minimum(0, whole).astype(int).tolist()
    high = np.maximum(ours.size, whole + theirs.size).astype(int).tolist()
    grid = ours.cropped(low, high)
    if max(n * s for n, s in zip(grid.size, grid.spacing, strict=True)) > LARGEST_EXTENT:
        raise InputError(
            "the fixed and the warped segmentation lie metres apart; give two that belong to the same fixed image."
        )
    return fixed.onto(grid), warped.onto(grid)


def _by_name(segmentation: Segmentation | None) -> dict[str, Segment]:
    return {} if segmentation is None else {segment.name: segment for segment in segmentation.segments}


def _volume_ml(segment: Segment | None, box: Box | None, segmentation: Segmentation | None) -> float | None:
    """None of a segment that is not there; `box` is None where it has no voxels."""
    if segment is None or segmentation is None:
        return None
    return 0.0 if box is None else volume_ml(segment.within(box), segmentation.geometry)


def _around(a: Box, b: Box) -> Box:
    """The smallest box around two."""
    z, y, x = (slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return z, y, x


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None


def _deviation(values: npt.NDArray[np.floating] | None) -> float | None:
    """Standard deviation; None of nothing."""
    return float(values.std(dtype=np.float64)) if values is not None and values.size else None


def _surface(mask: Mask) -> Mask:
    """The voxels of a mask with a face neighbour outside of it."""
    return mask & ~ndimage.binary_erosion(mask)


def _slabs(grid: Geometry) -> Iterator[tuple[int, int]]:
    """Ranges of z that cut a grid into slabs of about SLAB_VOXELS."""
    nx, ny, nz = grid.size
    thickness = max(1, SLAB_VOXELS // (nx * ny))
    return ((low, min(low + thickness, nz)) for low in range(0, nz, thickness))


def _displacement(transform: sitk.Transform, grid: Geometry, low: int, high: int) -> Floats:
    """T(x) − x in mm, [z, y, x, 3] with components (x, y, z), on the planes low ≤ z < high of a grid."""
    slab = grid.cropped([0, 0, low], [*grid.size[:2], high])
    return sitk.GetArrayFromImage(displacement_field(transform, slab))


def _numbers(path: str | Path, line: int, texts: list[str | None]) -> list[float]:
    """The finite numbers of one line of a file."""
    try:
        numbers = [float(text or "") for text in texts]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: line {line} has a coordinate that is no number; correct it.")
    return numbers
