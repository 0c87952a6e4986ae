"""Which of the scene's volumes is the baseline and which the follow-up: by acquisition date, or by name."""

from __future__ import annotations

import re

import slicer

OUTPUT_ATTRIBUTE = "MIRRBA.Output"
"""Marks what a registration has made: never an input of the next one unless the user says so."""
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
_BASELINE = re.compile(r"base ?-?_?line|\bpre\b|\bbefore\b|\binitial\b|moving|\bt0\b|\bbl\b", re.IGNORECASE)
_FOLLOW_UP = re.compile(r"follow|\bpost\b|\bafter\b|\binterim\b|fixed|\bt[1-9]\b|\bfu\b|\bend of", re.IGNORECASE)
_BASELINE_ORDER, _UNKNOWN_ORDER, _FOLLOW_UP_ORDER = 0, 1, 2


def guessPair(scene) -> tuple | None:
    """(fixed, moving): the later and the earlier of exactly two PET volumes, or None where there is no telling."""
    volumes = _candidates(scene)
    if len(volumes) != 2:
        return None
    dates = [acquisitionDate(volume) for volume in volumes]
    if None not in dates and dates[0] != dates[1]:
        order = dates
    else:
        order = [_orderByName(volume.GetName()) for volume in volumes]
        if order[0] == order[1]:
            return None
    earlier, later = volumes if order[0] < order[1] else volumes[::-1]
    return later, earlier


def acquisitionDate(volumeNode) -> str | None:
    """YYYYMMDD: the study date of a volume that was loaded from DICOM, else a date in its name."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMStudyDateAttributeName()
    item = hierarchy.GetItemByDataNode(volumeNode)
    while item and item != hierarchy.GetSceneItemID():
        date = _dateIn(hierarchy.GetItemAttribute(item, name))
        if date:
            return date
        item = hierarchy.GetItemParent(item)
    return _dateIn(volumeNode.GetName())


def segmentationOf(volumeNode, segmentations: list):
    """The one segmentation that was drawn on the volume (its reference image), or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn = [node for node in segmentations if node.GetNodeReference(role) is volumeNode]
    return drawn[0] if len(drawn) == 1 else None


def _candidates(scene) -> list:
    volumes = [
        volume
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
        if volume.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not volume.GetHideFromEditors()
        and volume.GetAttribute(OUTPUT_ATTRIBUTE) is None
    ]
    pets = [volume for volume in volumes if _modality(volume) == "PT"]
    return pets or volumes


def _modality(volumeNode) -> str:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(hierarchy.GetItemByDataNode(volumeNode), name) or ""


def _dateIn(text: str | None) -> str | None:
    found = _DATE.search(text or "")
    return "".join(found.groups()) if found else None


def _orderByName(name: str) -> int:
    words = name.replace("_", " ")
    isBaseline, isFollowUp = bool(_BASELINE.search(words)), bool(_FOLLOW_UP.search(words))
    if isBaseline == isFollowUp:
        return _UNKNOWN_ORDER
    return _BASELINE_ORDER if isBaseline else _FOLLOW_UP_ORDER
