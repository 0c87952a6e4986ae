"""A pair as files: images, segmentations, the true transform, landmarks, lesions."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..geometry import Geometry
from ..segments import Segment, Segmentation
from ..transforms import write_transform
from ..writing import write_text
from .lesions import LESION_COLOR, Lesion
from .motion import Motion
from .pair import Landmarks, Pair, Scan, make_pair
from .scanner import SCANNERS, Grid, Scanner
from .shapes import Ellipsoid, Points

_ORGAN_COLORS = {"brain": (0.98, 0.98, 0.88), "bladder": (0.87, 0.78, 0.39)}


def check_asked(pairs: int, spacing: float, seed: int) -> None:
    """What the command line asks for. Raises InputError."""
    if not 1 <= pairs <= 10_000:
        raise InputError(f"--pairs takes 1 to 10000, not {pairs}.")
    if not 1.5 <= spacing <= 20:
        raise InputError(f"--spacing takes 1.5 to 20 mm, not {spacing:g}.")
    if seed < 0:
        raise InputError(f"--seed takes a whole number from 0, not {seed}.")


def write_pairs(
    folder: str | Path,
    pairs: int,
    spacing: float,
    seed: int,
    on_pair: Callable[[Path], None] | None = None,
    scanners: Sequence[Scanner] = SCANNERS,
) -> list[Path]:
    """Make and write pairs with the seeds `seed`, `seed + 1`, …, and return their folders.

    A single pair, of the first scanner, goes into `folder` itself. Several go into `folder`/pair-001, pair-002, … and
    alternate between the scanners; `folder`/pairs.tsv tells the centre of each. `on_pair` is told the folder of each
    pair once it is complete.
    """
    root = Path(folder)
    folders = [root] if pairs == 1 else [root / f"pair-{number:03d}" for number in range(1, pairs + 1)]
    made = [scanners[number % len(scanners)] for number in range(pairs)]
    for number, (place, scanner) in enumerate(zip(folders, made, strict=True)):
        write_pair(make_pair(scanner.spacing * spacing, seed + number, scanner.fwhm, scanner.noise), place)
        if on_pair is not None:
            on_pair(place)
    if pairs > 1:
        _write_centres(root / "pairs.tsv", folders, made)
    return folders


def _write_centres(path: Path, folders: Sequence[Path], scanners: Sequence[Scanner]) -> None:
    """A line per pair: its folder's name and its centre."""
    lines = [f"{place.name}\t{scanner.centre}" for place, scanner in zip(folders, scanners, strict=True)]
    write_text(path, "\n".join(["pair_id\tcentre", *lines]) + "\n")


def write_pair(pair: Pair, folder: str | Path) -> None:
    """Write a pair into `folder`, which is made if need be. Each file appears whole or not at all.

    fixed.nii.gz and moving.nii.gz (SUV, float32), fixed_segmentation.seg.nrrd and moving_segmentation.seg.nrrd,
    true_transform.h5 (ITK displacement field, fixed to moving points, on the fixed grid), landmarks.csv, lesions.json,
    phantom.json.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".phantom-", dir=place) as name:
        aside = Path(name)
        for word, scan in (("fixed", pair.fixed), ("moving", pair.moving)):
            sitk.WriteImage(_geometry(scan.grid).image(scan.image), str(aside / f"{word}.nii.gz"), useCompression=True)
            _segmentation(scan).write(aside / f"{word}_segmentation.seg.nrrd")
        write_transform(_displacement(pair), aside / "true_transform.h5")
        _write_landmarks(pair.landmarks, aside / "landmarks.csv")
        _write_json(_lesions(pair), aside / "lesions.json")
        _write_json(_parameters(pair), aside / "phantom.json")
        if not (place / "phantom.json").exists() and any((place / path.name).exists() for path in aside.iterdir()):
            raise InputError(f"{place}: holds files of those names that are no phantom's; choose another folder.")
        for path in sorted(aside.iterdir()):
            os.replace(path, place / path.name)


def _geometry(grid: Grid) -> Geometry:
    z, y, x = grid.shape
    return Geometry((x, y, z), (grid.spacing,) * 3, grid.origin, tuple(np.eye(3).ravel().tolist()))


def _segmentation(scan: Scan) -> Segmentation:
    organs = [Segment(name, scan.masks[name], "organ", color) for name, color in _ORGAN_COLORS.items()]
    lesions = [Segment(n, mask, "lesion", LESION_COLOR) for n, mask in scan.masks.items() if n not in _ORGAN_COLORS]
    return Segmentation((*organs, *lesions), _geometry(scan.grid))


def _displacement(pair: Pair) -> sitk.Transform:
    centres = pair.fixed.grid.centres()
    field = _geometry(pair.fixed.grid).image(pair.true_transform(centres) - centres, is_vector=True)
    return sitk.DisplacementFieldTransform(field)


def _write_landmarks(landmarks: Landmarks, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z"])
        for name, fixed, moving in zip(landmarks.names, landmarks.fixed, landmarks.moving, strict=True):
            writer.writerow([name, *fixed.tolist(), *moving.tolist()])


def _lesions(pair: Pair) -> list[dict[str, Any]]:
    moving = np.array([lesion.centre for lesion in pair.lesions])
    fixed = pair.motion.inverse(moving)
    return [_lesion(lesion, place) for lesion, place in zip(pair.lesions, fixed, strict=True)]


def _lesion(lesion: Lesion, fixed: Points) -> dict[str, Any]:
    """Centres in mm, LPS; the semi-axes (mm) of both times are in the anatomy at baseline, null where it is not."""
    return {
        "name": lesion.name,
        "kind": lesion.kind,
        "fate": lesion.fate,
        "moving": _state(lesion.at_baseline(), lesion.baseline_suv, lesion.centre),
        "fixed": _state(lesion.at_followup(), lesion.followup_suv, fixed),
    }


def _state(solid: Ellipsoid | None, suv: float, centre: Points) -> dict[str, Any] | None:
    if solid is None:
        return None
    return {"centre_mm": centre.tolist(), "radii_mm": solid.radii.tolist(), "suv": suv}


def _parameters(pair: Pair) -> dict[str, Any]:
    return {
        "seed": pair.seed,
        "spacing_mm": float(pair.spacing),
        "fwhm_mm": pair.fwhm,
        "noise": pair.noise,
        "motion": _steps(pair.motion),
    }


def _steps(motion: Motion) -> list[dict[str, Any]]:
    """The chain from fixed to moving points, first step first (mm, radians, fractions)."""
    return [{"step": type(step).__name__, **asdict(step)} for step in motion.steps]


def _write_json(content: Any, path: Path) -> None:
    text = json.dumps(content, indent=2, default=lambda array: array.tolist())
    path.write_text(text + "\n", encoding="utf-8")
