"""The scores of one method on one pair, from its displacement field."""

from __future__ import annotations

from typing import Any

import SimpleITK as sitk

from .. import metrics
from ..geometry import Geometry
from ..images import body_mask
from ..segments import Mask, Segmentation
from ..transforms import read_transform
from .cohort import Pair
from .displacement import as_transform

REVISION = 1
"""Raised when a score means something else: those in the store are then computed again."""


def score(pair: Pair, field: sitk.Image) -> dict[str, Any]:
    """`metrics.evaluate` for a field on the pair's fixed grid, and `tre_body_mm`.

    `tre_mm` is over the landmarks, `tre_body_mm` over every voxel of the fixed body against the true transform; None
    where the pair has no such truth. `seconds` and `peak_memory_mb` are the run's and stay None.
    """
    grid = Geometry.from_image(field)
    transform = as_transform(field)
    fixed, moving = pair.segmentations()
    body = sitk.GetArrayFromImage(body_mask(pair.volumes()[0])) > 0
    scores = metrics.evaluate(
        fixed.onto(grid),
        warped(moving, field),
        moving,
        jacobian=metrics.jacobian_determinant(transform, grid),
        body=body,
        tre_mm=_landmark_error(pair, transform),
    )
    return {**scores, "tre_body_mm": _body_error(pair, transform, body, grid)}


def warped(moving: Segmentation, field: sitk.Image) -> Segmentation:
    """The baseline's segments on the fixed grid, resampled once."""
    return moving.warp(as_transform(field), Geometry.from_image(field))


def _landmark_error(pair: Pair, transform: sitk.Transform) -> float | None:
    if pair.landmarks is None:
        return None
    return metrics.landmark_error_mm(transform, metrics.read_landmarks(pair.landmarks))


def _body_error(pair: Pair, transform: sitk.Transform, body: Mask, grid: Geometry) -> float | None:
    if pair.truth is None:
        return None
    return metrics.transform_error_mm(transform, read_transform(pair.truth), body, grid)
