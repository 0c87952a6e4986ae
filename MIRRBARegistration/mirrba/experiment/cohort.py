"""A cohort: a folder of pairs, one subfolder each. docs/experiment.md has the names of the files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..geometry import Geometry
from ..images import read_volume
from ..metrics import Landmarks, read_landmarks
from ..segments import Segment, Segmentation, read_segmentation, role_of_name
from ..transforms import read_transform

ORGANS = ("brain", "bladder")  # whose Dice the paper reports (section 4.4)
ROLES = (*ORGANS, "lesion")
SKIPPED = ("derivatives", "code", "sourcedata")  # folders that BIDS has beside its subjects

_ENDING = r"\.(nii\.gz|nii|nrrd|mha|mhd)"
_NAMES = {
    "fixed": rf"(.+_)?(desc-)?fixed(_pet)?{_ENDING}",
    "moving": rf"(.+_)?(desc-)?moving(_pet)?{_ENDING}",
    "fixed_segmentation": rf"(.+_)?(desc-)?fixed_(segmentation|dseg)(\.seg)?{_ENDING}",
    "moving_segmentation": rf"(.+_)?(desc-)?moving_(segmentation|dseg)(\.seg)?{_ENDING}",
    "truth": r"((.+_)?true_transform|(.+_)?from-fixed_to-moving_xfm)\.(h5|tfm|txt|mat)",
    "landmarks": r"(.+_)?landmarks\.csv",
}
_USUAL = {
    "fixed": "fixed.nii.gz",
    "moving": "moving.nii.gz",
    "fixed_segmentation": "fixed_segmentation.seg.nrrd",
    "moving_segmentation": "moving_segmentation.seg.nrrd",
}
_TABLES = ("pairs.tsv", "participants.tsv")
_NAME_COLUMNS = ("pair_id", "participant_id")
_CENTRE_COLUMNS = ("centre", "center", "site")


@dataclass(frozen=True)
class Pair:
    """The files of one pair: follow-up (fixed) and baseline (moving) of one patient."""

    name: str
    fixed: Path
    moving: Path
    fixed_segmentation: Path
    moving_segmentation: Path
    truth: Path | None = None
    """The true transform, fixed to moving points (LPS mm)."""
    landmarks: Path | None = None
    centre: str | None = None
    """Where it was scanned; None where no table tells."""
    organs: Sequence[str] = ORGANS
    """Those that both segmentations have."""

    def volumes(self) -> tuple[sitk.Image, sitk.Image]:
        """Fixed and moving, float32."""
        return read_volume(self.fixed), read_volume(self.moving)

    def segmentations(self) -> tuple[Segmentation, Segmentation]:
        """Fixed and moving, of what the scores are about: the organs and the lesions."""
        return read_roles(self.fixed_segmentation, self.organs), read_roles(self.moving_segmentation, self.organs)


@dataclass(frozen=True)
class Cohort:
    folder: Path
    pairs: tuple[Pair, ...]
    """In the order of their names."""


class CohortError(InputError):
    """What is wrong with a cohort: `problems` has a sentence for each, beginning with the pair's name."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{folder}: this cohort has {count}:\n" + "\n".join(f"  - {line}" for line in problems))


def read_cohort(folder: str | Path) -> Cohort:
    """The cohort in a folder, every file of it read once. Raises CohortError with all that is wrong."""
    pairs, problems = check_cohort(folder)
    if problems:
        raise CohortError(Path(folder), problems)
    return Cohort(Path(folder), tuple(pairs))


def check_cohort(folder: str | Path) -> tuple[list[Pair], list[str]]:
    """The pairs whose files are there, and every problem of every pair in a sentence with the pair's name."""
    root = Path(folder)
    if not root.is_dir():
        return [], [f"{root}: there is no such folder; give one that holds a folder per pair."]
    places = [p for p in sorted(root.iterdir()) if p.is_dir() and _may_be_a_pair(p.name)]
    if not places:
        single = any(_files(root, part) for part in ("fixed", "moving"))
        what = "it is a single pair, so give the folder that holds it" if single else "make one per pair in it"
        return [], [f"{root.name}: holds no folder of a pair; {what}."]
    centres, problems = _read_centres(root, [place.name for place in places])
    pairs = []
    for place in places:
        files, missing = _files_of(place)
        problems += [f"{place.name}: {sentence}" for sentence in missing]
        if not missing:
            pair = Pair(place.name, **files, centre=centres.get(place.name))  # type: ignore[arg-type]
            pairs.append(pair)
            problems += [f"{pair.name}: {sentence}" for sentence in _problems(pair)]
    return pairs, problems


def check_apart(cohort: Path, out: Path) -> None:
    """Raises InputError where what is written into `out` would be taken for a pair of the cohort."""
    root, place = cohort.resolve(), out.resolve()
    if place == root or (root in place.parents and _may_be_a_pair(place.relative_to(root).parts[0])):
        raise InputError(f"{out}: the results would lie among the pairs of the cohort; choose another output folder.")


def _may_be_a_pair(name: str) -> bool:
    return name not in SKIPPED and not name.startswith(".")


def read_roles(path: Path, organs: Sequence[str] = ORGANS) -> Segmentation:
    """The segments named brain and bladder, under these names, and the lesions; other organs are left out.

    There must be each of `organs` once.

    A plain label map takes its names from the table beside it, of the same name but .tsv (BIDS: columns index, name
    and, if need be, role). Raises InputError.
    """
    segmentation = read_segmentation(path)
    table = _label_table(path)
    segments = []
    for segment in segmentation.segments:
        known = _named(segment, table, path)
        organ = _organ(known.name)
        if known.role == "lesion":
            segments.append(known)
        elif organ is not None:
            segments.append(replace(known, name=organ))
    names = [segment.name for segment in segments]
    for organ in organs:
        if names.count(organ) != 1:
            count = names.count(organ) or "no"
            raise InputError(f"{path}: has {count} segments of the {organ}; name exactly one so.")
    return Segmentation(tuple(segments), segmentation.geometry)


def _named(segment: Segment, table: Mapping[str, tuple[str, str]], path: Path) -> Segment:
    """The segment of a label map with the name and role of its table; one of a .seg.nrrd as it is."""
    label = re.fullmatch(r"label (-?\d+)", segment.name)
    if label is None:
        return segment
    if label[1] not in table:
        raise InputError(
            f"{path}: label {label[1]} has no name; list it in {table_of(path).name} (columns index, name, role)."
        )
    name, role = table[label[1]]
    if role and role not in (*ROLES, "organ"):
        raise InputError(f"{table_of(path)}: has the role '{role}'; it takes {', '.join(ROLES)} or organ.")
    if role in ORGANS:
        return replace(segment, name=role, role="organ")
    if role == "lesion" or (role_of_name(name) == "lesion" and role != "organ"):
        return replace(segment, name=name, role="lesion")
    return replace(segment, name=name, role="organ")


def table_of(segmentation: Path) -> Path:
    """The table that names the labels of a label map, whether there is one or not."""
    return segmentation.with_name(re.sub(rf"(\.seg)?{_ENDING}$", "", segmentation.name) + ".tsv")


def _label_table(path: Path) -> dict[str, tuple[str, str]]:
    """Name and role by label value; empty where there is no table."""
    place = table_of(path)
    if not place.is_file():
        return {}
    rows = _rows(place)
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise InputError(f"{place}: lacks a column index or name; write them as BIDS has it.")
    return {row["index"].strip(): (row["name"].strip(), (row.get("role") or "").strip()) for row in rows}


def _organ(name: str) -> str | None:
    words = re.findall(r"[a-z]+", name.casefold())
    return next((organ for organ in ORGANS if organ in words and "gall" not in words), None)


def _files(place: Path, part: str) -> list[Path]:
    return [p for p in sorted(place.iterdir()) if p.is_file() and re.fullmatch(_NAMES[part], p.name)]


def _files_of(place: Path) -> tuple[dict[str, Path | None], list[str]]:
    """The path of each part, and what is missing or there twice."""
    files: dict[str, Path | None] = {}
    problems = []
    for part in _NAMES:
        found = _files(place, part)
        files[part] = found[0] if found else None
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            problems.append(f"{names} are both the {_spoken(part)}; leave one.")
        elif not found and part in _USUAL:
            problems.append(f"the {_spoken(part)} is missing; name it {_USUAL[part]} or as docs/experiment.md says.")
    return files, problems


def _spoken(part: str) -> str:
    return {"truth": "true transform", "fixed": "fixed volume", "moving": "moving volume"}.get(
        part, part.replace("_", " ")
    )


def _problems(pair: Pair) -> Iterator[str]:
    """What is wrong in the files of a pair."""
    if pair.fixed.read_bytes() == pair.moving.read_bytes():
        yield f"{pair.fixed.name} and {pair.moving.name} are the same volume; give baseline and follow-up."
    for image, segmentation in ((pair.fixed, pair.fixed_segmentation), (pair.moving, pair.moving_segmentation)):
        yield from _volume_problems(image, segmentation)
    for path in (pair.truth, pair.landmarks):
        if path is not None:
            yield from _truth_problems(pair, path)


def _volume_problems(image: Path, segmentation: Path) -> Iterator[str]:
    try:
        grid = Geometry.from_image(read_volume(image))
    except InputError as error:
        yield _short(error, image)
        return
    try:
        laid = read_roles(segmentation).onto(grid)
    except InputError as error:
        yield _short(error, segmentation)
        return
    boxes = laid.boxes()
    for segment in laid.segments:
        if segment.name in ORGANS and segment.name not in boxes:
            yield f"the {segment.name} in {segmentation.name} has no voxel in {image.name}; draw it on that volume."


def _truth_problems(pair: Pair, path: Path) -> Iterator[str]:
    try:
        if path == pair.truth:
            read_transform(path)
        else:
            yield from _outside(read_landmarks(path), read_volume(pair.fixed), path.name)
    except InputError as error:
        # A fixed volume that cannot be read was told of before.
        if str(pair.fixed) not in str(error):
            yield _short(error, path)


def _outside(landmarks: Landmarks, fixed: sitk.Image, name: str) -> Iterator[str]:
    """A landmark beyond the field has no displacement there."""
    grid = Geometry.from_image(fixed)
    indices = (landmarks.fixed - np.array(grid.origin)) @ np.linalg.inv(grid.matrix).T
    inside = ((indices >= -0.5) & (indices <= np.array(grid.size) - 0.5)).all(axis=1)
    for landmark, there in zip(landmarks.names, inside, strict=True):
        if not there:
            yield f"landmark '{landmark}' in {name} lies outside of the fixed volume; remove it."


def _short(error: InputError, path: Path) -> str:
    """The message with the names of files instead of their paths."""
    return str(error).replace(f"{path.parent}/", "")


def _read_centres(root: Path, names: list[str]) -> tuple[dict[str, str], list[str]]:
    """The centre of each pair from pairs.tsv or participants.tsv, and what is wrong with that table."""
    table = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if table is None:
        return {}, []
    try:
        rows = _rows(table)
    except InputError as error:
        return {}, [_short(error, table)]
    columns = list(rows[0]) if rows else []
    name_column = next((c for c in _NAME_COLUMNS if c in columns), None)
    centre_column = next((c for c in _CENTRE_COLUMNS if c in columns), None)
    if name_column is None or centre_column is None:
        return {}, [f"{table.name}: needs the columns pair_id and centre, separated by tabs; add them."]
    listed = [(row[name_column].strip(), (row[centre_column] or "").strip()) for row in rows]
    centres = dict(listed)
    problems = [
        f"{name}: is in {table.name}, but has no folder; remove its line." for name in centres if name not in names
    ]
    problems += [
        f"{name}: is in {table.name} {n} times; leave one line."
        for name in centres
        if (n := [other for other, _ in listed].count(name)) > 1
    ]
    problems += [f"{name}: has no centre in {table.name}; add it." for name in names if not centres.get(name)]
    return centres, problems


def _rows(path: Path) -> list[dict[str, str]]:
    """The lines of a table separated by tabs, by column. Raises InputError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [
                {k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file, delimiter="\t")
            ]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: cannot be read; give a text file with columns separated by tabs.") from None
