"""Input that a registration must refuse, each with what the refusal says. Made for the command line and for Slicer."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def body(size=(24, 16, 34), spacing=(14.0, 14.0, 14.0), seed=0) -> sitk.Image:
    """A PET of an ellipsoid with a hot and a warm organ, in noisy air."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in size[::-1])
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    values = (((z / 0.85) ** 2 + (y / 0.8) ** 2 + (x / 0.8) ** 2) < 1) + rng.normal(0, 0.01, size[::-1])
    values += 6.0 * (((z - 0.6) ** 2 + y**2 + x**2) < 0.06) + 2.0 * (((z + 0.3) ** 2 + y**2 + (x - 0.3) ** 2) < 0.05)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(spacing)
    return image


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[sitk.Image], sitk.Image]:
    def make(image: sitk.Image) -> sitk.Image:
        new = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        new.CopyInformation(image)
        return new

    return make


def spaced(*spacing: float) -> Callable[[sitk.Image], sitk.Image]:
    def make(image: sitk.Image) -> sitk.Image:
        image = sitk.Image(image)
        image.SetSpacing(spacing)
        return image

    return make


def as_ct(values: np.ndarray) -> np.ndarray:
    """Air at −1000, soft tissue at 40, something hard at 800."""
    return np.select([values > 3, values > 0.5], [800, 40], -1000).astype(np.int16)


VOLUMES = {
    "one slice": (lambda image: image[:, :, 17:18], "is 24 × 16 × 1 voxels; a volume needs at least 8"),
    "3 × 3 × 3 voxels": (lambda image: image[10:13, 7:10, 15:18], "is 3 × 3 × 3 voxels; a volume needs at least 8"),
    "not a number": (changed(lambda a: np.full_like(a, np.nan)), "holds no uptake"),
    "infinite": (changed(lambda a: np.full_like(a, np.inf)), "holds no uptake"),
    "zero": (changed(np.zeros_like), "holds no uptake"),
    "constant": (changed(lambda a: np.full_like(a, 3)), "holds no uptake"),
    "negative": (changed(lambda a: -1 - np.abs(a)), "holds no uptake"),
    "CT": (changed(as_ct), "as a CT has; give the PET"),
    "mask": (changed(lambda a: (a > 0.5).astype(np.uint8)), "as a mask; give the PET"),
    "spacing of a micrometre": (spaced(0.001, 0.001, 0.001), "has a voxel spacing of 0.001 × 0.001 × 0.001 mm"),
    "spacing of a metre": (spaced(1000, 1000, 1000), "has a voxel spacing of 1000 × 1000 × 1000 mm"),
    "four metres long": (
        lambda image: spaced(14, 14, 99)(sitk.ConstantPad(image, (0, 0, 10))),
        "longer than a body; correct the spacing",
    ),
    "of a mouse": (spaced(0.5, 0.5, 0.5), "too small for a body; correct the spacing"),
}
"""Volumes that the command line and Slicer can both hold: what makes one of a PET, and what is said of it."""

COMMAND_LINE_VOLUMES = {
    "2-D": (lambda image: image[:, :, 17], "has 2 dimensions; give a single 3-D volume"),
    "4-D": (lambda image: sitk.JoinSeries([image, image]), "has 4 dimensions; give a single 3-D volume"),
    "vectors": (lambda image: sitk.Compose(image, image), "has several values per voxel"),
    "complex": (lambda image: sitk.RealAndImaginaryToComplex(image, image), "has complex values"),
}


# Files


def written(image: sitk.Image, path: Path, compressed: bool = True) -> bytes:
    sitk.WriteImage(image, str(path), compressed)
    return path.read_bytes()


def half(name: str, compressed: bool = True) -> Callable[[Path], Path]:
    """A file of that name that ends in the middle."""

    def make(folder: Path) -> Path:
        content = written(body(), folder / name, compressed)
        (folder / name).write_bytes(content[: len(content) // 2])
        return folder / name

    return make


def flipped(name: str) -> Callable[[Path], Path]:
    """A file of that name in whose middle one byte is another."""

    def make(folder: Path) -> Path:
        content = bytearray(written(body(), folder / name))
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)
        return folder / name

    return make


def holding(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def nrrd(sizes="20 20 20", directions="(9,0,0) (0,9,0) (0,0,9)", origin="(0,0,0)") -> Callable[[Path], Path]:
    """A NRRD file of 20 × 20 × 20 voxels whose header says what ITK would not write."""
    header = (
        f"NRRD0005\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\nendian: little\n"
        f"space directions: {directions}\nkinds: domain domain domain\nencoding: raw\nspace origin: {origin}\n\n"
    )
    return holding("header.nrrd", header.encode() + np.arange(8000, dtype="<f4").tobytes())


def nifti_with(place: int, kind: str, value: float) -> Callable[[Path], Path]:
    """A NIfTI file with another value in its header."""

    def make(folder: Path) -> Path:
        content = bytearray(written(body(), folder / "header.nii"))
        struct.pack_into(kind, content, place, value)
        (folder / "header.nii").write_bytes(content)
        return folder / "header.nii"

    return make


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.nrrd")
    return folder / "pipe.nrrd"


CUT = "cut short"
NO_IMAGE = "cannot be read as an image; give a file such as"
SPACING = "has a voxel spacing of"
IMPOSSIBLE = "impossible size, spacing or direction"

FILES = {
    "missing": (lambda folder: folder / "missing.nii.gz", "there is no such file; check the path"),
    "name too long": (lambda folder: folder / ("n" * 300), "there is no such file; check the path"),
    "folder": (lambda folder: folder, "is a folder; give one file"),
    "pipe": (pipe, "is a pipe or a device"),
    "device": (lambda folder: Path("/dev/zero"), "is a pipe or a device"),
    "empty": (holding("empty.nii.gz", b""), NO_IMAGE),
    "text": (holding("text.nii.gz", b"not an image"), NO_IMAGE),
    "text of another ending": (holding("notes.txt", b"not an image"), NO_IMAGE),
    "half a .nii.gz": (half("half.nii.gz"), CUT),
    "half a .nii": (half("half.nii"), CUT),
    "half a .nrrd": (half("half.nrrd"), CUT),
    "half a raw .nrrd": (half("half.nrrd", compressed=False), CUT),
    "half a .mha": (half("half.mha"), CUT),
    "half a raw .mha": (half("half.mha", compressed=False), CUT),
    "damaged .nii.gz": (flipped("damaged.nii.gz"), CUT),
    "damaged .mha": (flipped("damaged.mha"), CUT),
    "2000 × 2000 × 2000 voxels": (nrrd(sizes="2000 2000 2000"), "more than 500 million; crop or resample it first"),
    "more voxels than numbers": (nrrd(sizes="20000000 20000000 20000000"), IMPOSSIBLE),
    "no voxels": (nrrd(sizes="0 20 20"), IMPOSSIBLE),
    "spacing of zero": (nrrd(directions="(0,0,0) (0,9,0) (0,0,9)"), SPACING),
    "spacing of zero in NIfTI": (nifti_with(80, "<f", 0.0), SPACING),
    "spacing that is no number in NIfTI": (nifti_with(84, "<f", float("nan")), SPACING),
    "spacing that is no number": (nrrd(directions="(nan,0,0) (0,9,0) (0,0,9)"), IMPOSSIBLE),
    "singular directions": (nrrd(directions="(9,0,0) (9,0,0) (0,0,9)"), "axes that are not at right angles"),
    "sheared directions": (nrrd(directions="(9,0,0) (3,9,0) (0,0,9)"), "axes that are not at right angles"),
    "origin far away": (nrrd(origin="(1e30,0,0)"), "has an origin of 1e+30"),
}
"""Files that no image can be read from: what makes one in a folder, and what is said of it."""
