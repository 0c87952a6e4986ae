"""A finished registration as a table node: a row a segment, and references to all that belongs to it.

The table is saved with the scene, so a result can be reviewed after loading it again.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from .nodes import placeBeside
from .registrationJob import RegistrationJob

RESULT_ATTRIBUTE = "MIRRBA.Result"
_REFERENCES = (
    "fixedVolume",
    "movingVolume",
    "fixedSegmentation",
    "movingSegmentation",
    "transform",
    "volume",
    "segmentation",
)
_TEXTS = (("Segment", "name"), ("Fate", "fate"), ("Role", "role"))
POSITION = ("R", "A", "S")
"""Centre of the segment on the follow-up, mm."""


@dataclass(frozen=True)
class Column:
    """`key` is the name in metrics.json; `title` with {unit}, that of the PET's voxels."""

    title: str
    key: str
    digits: int
    note: str = ""
    """What the title does not say."""


_IN_WARPED = (
    "Of the follow-up PET within the warped baseline segment; of a lesion that appeared, within the one drawn on it."
)
COLUMNS = (
    Column("Baseline ml", "moving_ml", 1),
    Column("Warped ml", "warped_ml", 1),
    Column("Follow-up ml", "fixed_ml", 1, "Of the segment as it was drawn on the follow-up."),
    Column("Baseline {unit}max", "max_moving", 1),
    Column("Follow-up {unit}max", "max_fixed", 1, _IN_WARPED),
    Column("Baseline {unit}mean", "mean_moving", 1),
    Column("Follow-up {unit}mean", "mean_fixed", 1, _IN_WARPED),
    Column("Moved mm", "moved_mm", 1),
    Column("Dice", "dice", 2),
)


def addResult(job: RegistrationJob):
    """The table node of a job that is done, in the scene and beside the fixed volume."""
    inputs, outputs = job.inputs, job.outputs
    scene = inputs.fixedVolume.GetScene()
    table = slicer.vtkMRMLTableNode()
    name = f"{inputs.movingVolume.GetName()} to {inputs.fixedVolume.GetName()} result"
    table.SetName(scene.GenerateUniqueName(f"{name}, stopped early" if job.isStoppedEarly else name))
    table.SetAttribute(RESULT_ATTRIBUTE, "1")  # before it is in the scene: the selector looks once
    _fill(table, job.metrics.get("segments", []), _unit(inputs.fixedVolume))
    table = scene.AddNode(table)
    _takeFromEarlierResults(outputs.nodes(), scene)
    for role, node in zip(
        _REFERENCES,
        (
            inputs.fixedVolume,
            inputs.movingVolume,
            inputs.fixedSegmentation,
            inputs.movingSegmentation,
            outputs.transform,
            outputs.volume,
            outputs.segmentation,
        ),
        strict=True,
    ):
        if node not in (None, False):
            table.SetNodeReferenceID(f"MIRRBA.{role}", node.GetID())
    placeBeside(table, inputs.fixedVolume)
    return table


def resultTables(scene) -> list:
    """Of every result in the scene."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode", scene)
    return [table for table in tables if table.GetAttribute(RESULT_ATTRIBUTE)]


class Result:
    """What a result's table node refers to; None for what was not kept or has been removed since."""

    def __init__(self, tableNode) -> None:
        self.table = tableNode
        nodes = {role: tableNode.GetNodeReference(f"MIRRBA.{role}") for role in _REFERENCES}
        self.fixedVolume = nodes["fixedVolume"]
        self.movingVolume = nodes["movingVolume"]
        self.fixedSegmentation = nodes["fixedSegmentation"]
        self.movingSegmentation = nodes["movingSegmentation"]
        self.transform = nodes["transform"]
        self.volume = nodes["volume"]
        self.segmentation = nodes["segmentation"]

    @property
    def segmentations(self) -> list:
        """All three, as far as they are there."""
        nodes = (self.fixedSegmentation, self.movingSegmentation, self.segmentation)
        return [node for node in nodes if node is not None]

    @property
    def titles(self) -> list[str]:
        """Of the columns to show: all but the position, and those that hold no value at all."""
        titles = [self.table.GetColumnName(index) for index in range(self.table.GetNumberOfColumns())]
        return [title for title in titles if title not in POSITION and self._holdsSomething(title)]

    @property
    def rowCount(self) -> int:
        return self.table.GetNumberOfRows() if self.table.GetNumberOfColumns() else 0

    def text(self, row: int, title: str) -> str:
        """A cell as it is shown; empty where there is no value."""
        array = self.table.GetTable().GetColumnByName(title)
        if array.IsA("vtkStringArray"):
            return array.GetValue(row)
        value = array.GetValue(row)
        return "" if math.isnan(value) else f"{value:.{self._digits(title)}f}"

    def note(self, title: str) -> str:
        """On a column's title, for who points at it."""
        return next((column.note for column in COLUMNS if _matches(column, title)), "")

    def position(self, row: int) -> tuple[float, float, float] | None:
        """Centre of the row's segment on the follow-up, RAS mm; None where it has none, as outside of the image."""
        values = [self.table.GetTable().GetColumnByName(axis).GetValue(row) for axis in POSITION]
        return None if any(math.isnan(value) for value in values) else tuple(values)

    def writeCsv(self, path: Path) -> None:
        """All columns, full precision. Errors: OSError."""
        table = self.table.GetTable()
        columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column.GetName() for column in columns])
            for row in range(self.rowCount):
                values = [column.GetValue(row) for column in columns]
                writer.writerow(["" if value != value else value for value in values])  # NaN differs from itself

    def _holdsSomething(self, title: str) -> bool:
        return any(self.text(row, title) for row in range(self.rowCount))

    def _digits(self, title: str) -> int:
        return next((column.digits for column in COLUMNS if _matches(column, title)), 1)


def _matches(column: Column, title: str) -> bool:
    before, _, after = column.title.partition("{unit}")
    return title.startswith(before) and title.endswith(after)


def _fill(table, segments: list[dict[str, Any]], unit: str) -> None:
    for title, key in _TEXTS:
        texts = vtk.vtkStringArray()
        texts.SetName(title)
        for segment in segments:
            texts.InsertNextValue(segment.get(key) or "")
        table.AddColumn(texts)
    for column in COLUMNS:
        values = [_number(segment.get(column.key)) for segment in segments]
        _addNumbers(table, column.title.format(unit=unit), values)
    centres = [segment.get("centre_fixed_lps") or (math.nan,) * 3 for segment in segments]
    for axis, name in enumerate(POSITION):
        sign = 1 if name == "S" else -1  # the engine speaks LPS
        _addNumbers(table, name, [sign * _number(centre[axis]) for centre in centres])


def _takeFromEarlierResults(outputs: list, scene) -> None:
    """Nodes that were filled anew: an earlier result's scores are not theirs."""
    for table in resultTables(scene):
        for role in _REFERENCES:
            if table.GetNodeReference(f"MIRRBA.{role}") in outputs:
                table.SetNodeReferenceID(f"MIRRBA.{role}", None)


def _addNumbers(table, title: str, values: list[float]) -> None:
    array = vtk.vtkDoubleArray()
    array.SetName(title)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _unit(volumeNode) -> str:
    """SUV where the volume says that its voxels are, as DICOM PET readers do; else nothing."""
    units = volumeNode.GetVoxelValueUnits()
    meaning = " ".join(filter(None, (units.GetCodeValue(), units.GetCodeMeaning()))) if units is not None else ""
    return "SUV" if "suv" in meaning.lower() or "standardized uptake" in meaning.lower() else ""
