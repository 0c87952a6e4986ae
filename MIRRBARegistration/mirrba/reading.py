"""Opening image files: what is no image, damaged, or not to be of a body is refused before its voxels are read."""

from __future__ import annotations

import os
from pathlib import Path

import SimpleITK as sitk

from .errors import InputError, OutOfMemory
from .geometry import Geometry
from .metaimage import check_metaimage
from .nifti import check_nifti
from .paths import check_name


def read_image(path: str | Path) -> sitk.Image:
    """A 3-D image as it is in the file, scalar or vector. Raises InputError."""
    path = Path(path)
    _check_file(path)
    check_nifti(path)
    check_metaimage(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3:
            raise InputError(f"{path}: has {reader.GetDimension()} dimensions; give a single 3-D volume.")
        Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()).check(str(path))
        return reader.Execute()
    except RuntimeError as error:
        raise _explained(path, str(error)) from None


def _check_file(path: Path) -> None:
    # os.path: pathlib raises OSError for names that no file can have
    if not os.path.exists(path):
        raise InputError(f"{path}: there is no such file; check the path.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give one file (a DICOM series must be converted to NIfTI first).")
    if not path.is_file():
        raise InputError(f"{path}: is a pipe or a device; give an image file.")
    check_name(path.absolute())


def _explained(path: Path, reason: str) -> InputError | OutOfMemory:
    """ITK's error in the user's words."""
    if "allocate memory" in reason:
        return OutOfMemory(f"{path}: does not fit into this machine's memory; close other programs or resample it.")
    if "Unable to determine ImageIO" in reason:
        return InputError(f"{path}: cannot be read as an image; give a file such as .nii.gz, .nrrd or .mha.")
    return InputError(
        f"{path}: is cut short or damaged, or has an impossible size, spacing or direction; copy or export it again."
    )
