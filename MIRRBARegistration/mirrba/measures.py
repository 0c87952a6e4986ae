"""What a reader measures in every segment: its uptake and its place, before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from .geometry import Geometry
from .segments import Box, Mask, Segment, Segmentation


@dataclass(frozen=True)
class Measured:
    """One segment: uptake in the image's own unit, centre of mass (x, y, z) in mm, LPS. None where there is nothing."""

    maximum: float | None = None
    mean: float | None = None
    centre: list[float] | None = None


NOTHING = Measured()


def measured(segmentation: Segmentation | None, image: sitk.Image | None) -> dict[str, Measured]:
    """Every segment by its name. The uptake is that of the image's voxels whose centres lie in the segment."""
    if segmentation is None:
        return {}
    boxes = segmentation.boxes()
    centres = {s.name: _centre(s, boxes.get(s.name), segmentation.geometry) for s in segmentation.segments}
    uptakes = {} if image is None else _uptakes(segmentation, image)
    return {name: replace(uptakes.get(name, NOTHING), centre=centre) for name, centre in centres.items()}


def compared(warped: Measured, moving: Measured, inverse: sitk.Transform | None) -> dict[str, Any]:
    """The measures of one segment in `metrics.json`.

    `inverse` (moving to fixed points) says where a segment would be that vanished by warping.
    """
    centre, moved = warped.centre, None
    if centre is None and moving.centre is not None and inverse is not None:
        centre = list(inverse.TransformPoint(moving.centre))
    elif centre is not None and moving.centre is not None:
        moved = float(np.linalg.norm(np.subtract(centre, moving.centre)))
    return {
        "max_moving": moving.maximum,
        "mean_moving": moving.mean,
        "max_fixed": warped.maximum,
        "mean_fixed": warped.mean,
        "moved_mm": moved,
        "centre_fixed_lps": centre,
        "centre_moving_lps": moving.centre,
    }


def centre_lps(mask: Mask, geometry: Geometry) -> list[float]:
    """Centre of mass (x, y, z) of a mask `[z, y, x]` that has voxels, on its grid, mm, LPS."""
    total = np.count_nonzero(mask)
    index = []
    for axis in (2, 1, 0):
        counts = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {axis}))
        index.append(float(counts @ np.arange(len(counts)) / total))
    return list(geometry.point(index))


def _centre(segment: Segment, box: Box | None, geometry: Geometry) -> list[float] | None:
    if box is None:
        return None
    low, high = ([getattr(side, end) for side in reversed(box)] for end in ("start", "stop"))
    return centre_lps(segment.within(box), geometry.cropped(low, high))


def _uptakes(segmentation: Segmentation, image: sitk.Image) -> dict[str, Measured]:
    """Maximum and mean of the image in every segment that has voxels on its grid."""
    values = sitk.GetArrayViewFromImage(image)
    laid = segmentation.onto(Geometry.from_image(image))
    by_name, found = {segment.name: segment for segment in laid.segments}, {}
    for name, box in laid.boxes().items():
        inside = values[box][by_name[name].within(box)]
        found[name] = Measured(float(inside.max()), float(inside.mean(dtype=np.float64)))
    return found
