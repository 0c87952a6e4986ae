"""The same scores by another path: SimpleITK's own filters, and nothing of metrics.py.

Used to check the scores, not to make them. The segments are warped by ITK's warp filter instead of its resampler.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk
from mirrba.experiment.cohort import ORGANS, Pair
from mirrba.images import body_mask
from mirrba.segments import Segmentation


def recompute(pair: Pair, field: sitk.Image) -> dict[str, float | None]:
    """The scores of `scores.score` that filters of SimpleITK give, and `average_hausdorff_mm`, the mean over organs
    and persisting lesions. Only the Jacobian differs by design: ITK halves the differences at the faces of the volume.
    """
    fixed_volume, _ = pair.volumes()
    field = sitk.Cast(field, sitk.sitkVectorFloat64)
    fixed, moving = pair.segmentations()
    before, after = _images(moving), _images(fixed)
    warped = {name: _warped(image, field) for name, image in before.items()}
    there = {
        name: sitk.Resample(image, fixed_volume, sitk.Transform(), sitk.sitkNearestNeighbor)
        for name, image in after.items()
    }
    lasting = [name for name in there if _volume(there[name]) and _volume(before.get(name))]
    lesions = [name for name in lasting if name not in ORGANS]
    vanished = [
        name for name in before if name not in ORGANS and not _volume(there.get(name)) and _volume(before[name])
    ]
    overlaps = {name: _overlap(warped[name], there[name]) for name in lasting}
    shrinkage = [1 - _volume(warped[name]) / _volume(before[name]) for name in vanished]
    determinant = sitk.DisplacementFieldJacobianDeterminant(field)
    return {
        "dice_organs": _mean(overlaps[name].GetDiceCoefficient() for name in lasting if name in ORGANS),
        "dice_lesions": _mean(overlaps[name].GetDiceCoefficient() for name in lesions),
        "detection_rate": _mean(overlaps[name].GetFalseNegativeError() < 0.5 for name in lesions),
        "average_hausdorff_mm": _mean(
            _hausdorff(warped[name], there[name]) for name in lasting if _volume(warped[name])
        ),
        "disappearing_rate": _mean(max(0.0, s) for s in shrinkage),
        "disappearing_rate_signed": _mean(shrinkage),
        "sd_jacobian": _deviation(determinant, sitk.Cast(determinant == determinant, sitk.sitkUInt8)),
        "sd_jacobian_body": _deviation(determinant, body_mask(fixed_volume)),
        "folding_fraction": _mean_of(determinant <= 0),
        "tre_mm": _landmark_error(pair, field),
    }


def _images(segmentation: Segmentation) -> dict[str, sitk.Image]:
    return {s.name: segmentation.geometry.image(s.mask.astype(np.uint8)) for s in segmentation.segments}


def _warped(image: sitk.Image, field: sitk.Image) -> sitk.Image:
    warp = sitk.WarpImageFilter()
    warp.SetInterpolator(sitk.sitkNearestNeighbor)
    warp.SetOutputParameteresFromImage(field)
    return warp.Execute(image, field)


def _volume(image: sitk.Image | None) -> float:
    """mm³ of a mask, 0 of none."""
    if image is None:
        return 0.0
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    return float(shape.GetPhysicalSize(1)) if shape.HasLabel(1) else 0.0


def _overlap(warped: sitk.Image, fixed: sitk.Image) -> sitk.LabelOverlapMeasuresImageFilter:
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(warped, fixed)
    return measures


def _hausdorff(a: sitk.Image, b: sitk.Image) -> float:
    """ITK's average Hausdorff distance, of the surfaces."""
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(*(sitk.BinaryContour(sitk.ConstantPad(image, [1] * 3, [1] * 3), False) for image in (a, b)))
    return float(measure.GetAverageHausdorffDistance())


def _deviation(image: sitk.Image, mask: sitk.Image) -> float:
    """Of all voxels, not of a sample of them: ITK divides by n − 1."""
    statistics = sitk.LabelStatisticsImageFilter()
    statistics.Execute(image, mask)
    count = statistics.GetCount(1)
    return float(statistics.GetSigma(1) * np.sqrt((count - 1) / count))


def _mean_of(image: sitk.Image) -> float:
    statistics = sitk.StatisticsImageFilter()
    statistics.Execute(sitk.Cast(image, sitk.sitkFloat64))
    return float(statistics.GetMean())


def _landmark_error(pair: Pair, field: sitk.Image) -> float | None:
    """By interpolating the three components of the field as images."""
    if pair.landmarks is None:
        return None
    parts = [sitk.VectorIndexSelectionCast(field, k) for k in range(3)]
    distances = []
    with pair.landmarks.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            fixed, moving = ([float(row[f"{side}_{axis}"]) for axis in "xyz"] for side in ("fixed", "moving"))
            there = [
                x + part.EvaluateAtPhysicalPoint(fixed, sitk.sitkLinear) for x, part in zip(fixed, parts, strict=True)
            ]
            distances.append(float(np.linalg.norm(np.subtract(there, moving))))
    return _mean(distances)


def _mean(values: Iterable[float]) -> float | None:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed) if listed else None
