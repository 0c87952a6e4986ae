"""The overlay picture: fixed in green, moving in magenta, grey where they agree (as the paper's figure 2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .images import Floats, body_mean

PIXEL = 1.5  # mm
WHITE = 6.0  # times the body's mean uptake
GAMMA = 0.6  # lifts soft tissue out of the dark
GAP = 8  # pixels

Picture = npt.NDArray[np.uint8]


def overlay(fixed: sitk.Image, before: sitk.Image, after: sitk.Image) -> Picture:
    """Maximum intensity projections, `[row, column, rgb]`: coronal before | after, then sagittal before | after.

    All three on one grid; head up, patient's left on the right of the coronal view.
    """
    # The moving scale comes from `after`: `before` may lie outside of the picture altogether.
    scale = _uptake(after)
    pairs = zip(views(fixed, before, scale), views(fixed, after, scale), strict=True)
    panels = [panel for pair in pairs for panel in pair]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    joined = [panels[0]]
    for panel in panels[1:]:
        joined += [gap, panel]
    return np.concatenate(joined, axis=1)


def views(fixed: sitk.Image, moving: sitk.Image, moving_uptake: float | None = None) -> tuple[Picture, Picture]:
    """Coronal and sagittal projections of two volumes on one grid; `moving_uptake` is the body's mean in `moving`."""
    green = _projections(fixed, _uptake(fixed))
    magenta = _projections(moving, _uptake(moving) if moving_uptake is None else moving_uptake)
    coronal, sagittal = (np.stack([m, g, m], axis=-1) for m, g in zip(magenta, green, strict=True))
    return coronal, sagittal


def write_picture(picture: Picture, path: str) -> None:
    """As PNG (or what the file's ending says)."""
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(picture), isVector=True), path)


def _uptake(image: sitk.Image) -> float:
    values = sitk.GetArrayViewFromImage(image)
    return body_mean(values) if values.max() > 0 else 1.0


def _projections(image: sitk.Image, mean: float) -> tuple[Picture, Picture]:
    """Coronal and sagittal, as grey levels with square pixels, head up."""
    oriented = sitk.DICOMOrient(image, "LPS")
    values = sitk.GetArrayViewFromImage(oriented)
    x, y, z = oriented.GetSpacing()
    coronal = _square(values.max(axis=1), x, z)
    sagittal = _square(values.max(axis=2), y, z)
    return _grey(coronal, mean), _grey(sagittal, mean)


def _square(flat: Floats, width: float, height: float) -> Floats:
    """Resampled to square pixels, first row on top = the most superior one."""
    plane = sitk.GetImageFromArray(flat[::-1].astype(np.float32))
    plane.SetSpacing((width, height))
    size = [max(1, round(n * s / PIXEL)) for n, s in zip(plane.GetSize(), plane.GetSpacing(), strict=True)]
    first = [(PIXEL - s) / 2 for s in plane.GetSpacing()]
    resampled = sitk.Resample(
        plane, size, sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear, first, [PIXEL, PIXEL], plane.GetDirection()
    )
    return sitk.GetArrayFromImage(resampled)


def _grey(flat: Floats, mean: float) -> Picture:
    return (255 * np.clip(flat / (WHITE * mean), 0, 1) ** GAMMA).astype(np.uint8)
