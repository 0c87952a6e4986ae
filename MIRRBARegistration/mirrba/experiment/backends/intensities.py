"""What the baselines see of the volumes."""

from __future__ import annotations

import SimpleITK as sitk

from ...errors import InputError
from ...images import body_mean, normalise


def prepared(image: sitk.Image, how: str) -> sitk.Image:
    """The volume as MIRRBA normalises it for itself ("normalised"), or as it is ("suv"). Float32."""
    if how == "suv":
        return image
    if how != "normalised":
        raise InputError(f"Setting 'intensities' cannot be '{how}'; it takes normalised or suv.")
    values = sitk.GetArrayViewFromImage(image)
    normal = sitk.GetImageFromArray(normalise(values, body_mean(values)))
    normal.CopyInformation(image)
    return normal
