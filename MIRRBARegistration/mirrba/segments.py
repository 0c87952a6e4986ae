"""Segmentations: named, possibly overlapping segments on one grid, their files, and warping them once.

Geometry is ITK's: (x, y, z) order, millimetres, LPS. Label maps and masks are arrays [z, y, x].
"""

from __future__ import annotations

import colorsys
import errno
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .errors import InputError, is_out_of_memory
from .geometry import Geometry
from .reading import read_image

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.generic]
Box = tuple[slice, slice, slice]
"""Of an array [z, y, x]."""
NOWHERE: Box = (slice(0), slice(0), slice(0))
Role = Literal["organ", "lesion"]

ROLE_TAG = "MIRRBA.Role"
# Tags that may name a patient are not passed on; "DicomRtImport.RoiNumber" of Slicer's import does not.
_IDENTIFYING = re.compile(r"^DICOM\b|patient|birth", re.IGNORECASE)
# scipy finds the boxes of all labels at once, with a place for every number up to the largest.
LARGEST_FOUND = 2**16 - 1
# Beyond this an image was given for a label map: whole-body atlases have about 120 structures.
MAX_LABELS = 1000

# Parts of words: they also mark "GTVp", "LiverTumour", "micrometastases".
_LESION_PARTS = ("lesion", "tumo", "metasta", "gtv", "cancer", "carcinom", "lymphom", "melanom", "nodul", "malign")
_LESION_WORDS = {"met", "node", "mass"}
# fmt: off
_ORGAN_WORDS = {
    "adrenal", "aorta", "appendage", "arm", "arteries", "artery", "atria", "atrial", "atrium", "autochthon",
    "bladder", "body", "bone", "bowel", "brachiocephalic", "brain", "brainstem", "breast", "carotid", "cartilage",
    "cerebellum", "cerebrum", "clavicle", "clavicula", "colon", "cord", "duodenum", "esophagus", "eye", "face", "fat",
    "femora", "femur", "gallbladder", "gland", "gluteus", "head", "heart", "hip", "hippocampus", "humerus",
    "iliopsoas", "intervertebral", "intestine", "kidney", "leg", "liver", "lung", "marrow", "mediastinum", "muscle",
    "myocardium", "oesophagus", "organ", "ovaries", "ovary", "pancreas", "parotid", "pelvis", "prostate", "rectum",
    "rib", "sacrum", "salivary", "scapula", "skeleton", "skin", "skull", "spine", "spleen", "sternum", "stomach",
    "testes", "testis", "thymus", "thyroid", "tongue", "tonsil", "trachea", "urinary", "uterus", "vein", "vena",
    "ventricle", "vertebra", "vertebrae", "vessel",
}
# fmt: on


@dataclass(frozen=True, eq=False)
class Segment:
    """The voxels of a label map [z, y, x] that have one value, or of a mask; with a name, a role and a colour (RGB).

    Segments share label maps, so that a hundred lesions take no more memory than one. `id` and `tags` are Slicer's;
    they are kept so that a file goes through unharmed. The role is not among the tags.
    """

    name: str
    labels: Labels
    role: Role
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    value: int = 1

    @property
    def mask(self) -> Mask:
        """Of a shared label map it is made anew each time."""
        return self.within((slice(None),) * 3)

    def within(self, box: Box) -> Mask:
        """The part of the mask in a box."""
        labels = self.labels[box]
        return labels.view(np.bool_) if labels.dtype == np.bool_ else labels == self.value


@dataclass(frozen=True, eq=False)
class Segmentation:
    """An ordered list of segments, which may overlap, on one common grid. Repeated names get " (2)", " (3)", …"""

    segments: tuple[Segment, ...]
    geometry: Geometry

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a segmentation needs at least one segment")
        for segment in self.segments:
            if segment.labels.shape != self.geometry.shape:
                raise ValueError(f"segment {segment.name!r} needs a label map of shape {self.geometry.shape}")
        names = unique(segment.name for segment in self.segments)
        named = tuple(replace(segment, name=name) for segment, name in zip(self.segments, names, strict=True))
        object.__setattr__(self, "segments", named)

    def boxes(self) -> dict[str, Box]:
        """The smallest box around each segment that has voxels, by its name."""
        label_maps = {id(segment.labels): segment.labels for segment in self.segments}
        of_labels = {key: _boxes(labels) for key, labels in label_maps.items()}
        found = {}
        for segment in self.segments:
            boxes = of_labels[id(segment.labels)]
            if boxes is None:
                box = bounding_box(segment.mask)
            else:
                value = 1 if segment.labels.dtype == np.bool_ else segment.value
                box = boxes[value - 1] if 0 < value <= len(boxes) else None
            if box is not None:
                found[segment.name] = box
        return found

    def warp(self, transform: sitk.Transform, reference: Geometry) -> Segmentation:
        """Resample every segment once, by nearest neighbour, onto the reference grid.

        The transform maps points of the reference to points of this segmentation (mm, LPS). A segment that vanishes
        stays, with an empty mask. Segments that do not overlap share one label map, hence one resampling.
        """
        layers, places = _layers(self)
        images = [self.geometry.image(layer) for layer in layers]
        laid = [reference.resample(image, transform, sitk.sitkNearestNeighbor) for image in images]
        warped = [sitk.GetArrayFromImage(image) for image in laid]
        segments = tuple(
            replace(segment, labels=warped[layer], value=label)
            for segment, (layer, label) in zip(self.segments, places, strict=True)
        )
        return Segmentation(segments, reference)

    def onto(self, reference: Geometry) -> Segmentation:
        """Lay the segments where they are on another grid: exact where the lattices agree, else nearest neighbour.

        What lies outside the reference grid is cut off.
        """
        if reference == self.geometry:
            return self
        return self.warp(sitk.Transform(3, sitk.sitkIdentity), reference)

    def write(self, path: str | Path) -> None:
        """Write a `.seg.nrrd` as 3D Slicer does: names, colours, tags, overlapping segments in layers.

        Raises InputError if the name does not end with `.seg.nrrd`, OSError if the file cannot be written.
        """
        if not str(path).lower().endswith(".seg.nrrd"):
            raise InputError(f"{path}: segmentations are written as .seg.nrrd; choose a name that ends so.")
        layers, places = _layers(self)
        # Several layers are a vector image, which ITK writes as the 4-D "list" that Slicer uses.
        if len(layers) == 1:
            image = self.geometry.image(layers[0])
        else:
            image = self.geometry.image(np.stack(layers, axis=-1), is_vector=True)
        for key, value in self._header(places).items():
            image.SetMetaData(key, value)
        try:
            sitk.WriteImage(image, str(path), useCompression=True)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise OSError(errno.EIO, "is the disk full?", str(path)) from error

    def _header(self, places: list[tuple[int, int]]) -> dict[str, str]:
        """The keys of Slicer's segmentation storage; `places` are the (layer, label value) of each segment."""
        header = {
            "Segmentation_MasterRepresentation": "Binary labelmap",
            "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
            "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        }
        extent = " ".join(f"0 {n - 1}" for n in self.geometry.size)
        ids = unique(segment.id or f"Segment_{n}" for n, segment in enumerate(self.segments, 1))
        for n, (segment, identifier, (layer, label)) in enumerate(zip(self.segments, ids, places, strict=True)):
            tags = {**segment.tags, ROLE_TAG: segment.role}
            keys = {
                "ID": identifier,
                "Name": segment.name,
                "Color": " ".join(f"{c:.6g}" for c in segment.color),
                "Extent": extent,
                "Layer": str(layer),
                "LabelValue": str(label),
                "Tags": "".join(f"{key}:{value}|" for key, value in tags.items()),
            }
            header |= {f"Segment{n}_{key}": value for key, value in keys.items()}
        return header


def role_of_name(name: str) -> Role:
    """The role a segment's name suggests: organ if it has a known organ word and no lesion word, else lesion."""
    folded = name.casefold()
    if any(part in folded for part in _LESION_PARTS):
        return "lesion"
    # Words end at anything but letters and where camelCase turns; a plural s does not count.
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    words |= {word.removesuffix("s") for word in words}
    return "organ" if words & _ORGAN_WORDS and not words & _LESION_WORDS else "lesion"


def read_segmentation(path: str | Path) -> Segmentation:
    """Read a label map in any format of SimpleITK, or a `.seg.nrrd` with its names, colours, tags and overlaps.

    Each non-zero label of a plain label map becomes a segment named "label 3". A `.seg.nrrd` of Slicer covers only
    the extent of its segments: use `onto` to lay it on an image's grid.
    Raises InputError if the file cannot be read, is not a 3-D label map, or has no non-zero voxel.
    """
    image = read_image(path)
    array = sitk.GetArrayFromImage(image)
    keys = {
        key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if re.fullmatch(r"Segment\d+_[A-Za-z]+", key)
    }
    numbers = sorted({int(match[1]) for key in keys if (match := re.fullmatch(r"Segment(\d+)_(?:ID|Name)", key))})
    segments = _slicer_segments(path, array, keys, numbers) if numbers else _label_segments(path, array)
    if not any(segment.mask.any() for segment in segments):
        raise InputError(f"{path}: the segmentation is empty; draw at least one segment or leave the file out.")
    return Segmentation(segments, Geometry.from_image(image))


def _label_segments(path: str | Path, array: npt.NDArray[np.generic]) -> tuple[Segment, ...]:
    """A segment for each non-zero value of a plain label map."""
    if array.ndim != 3 or np.iscomplexobj(array):
        raise InputError(f"{path}: the segmentation has several values in a voxel; give one that has one label.")
    labels = np.unique(array)
    # Many tools store labels as floats; whole numbers are labels all the same.
    if not np.array_equal(labels, np.round(labels)) or np.isinf(labels).any():
        raise InputError(f"{path}: the segmentation has values that are no whole numbers; give a label map.")
    labels = labels[labels != 0]
    if len(labels) > MAX_LABELS:
        raise InputError(f"{path}: has {len(labels)} different values; this is an image, so give a label map instead.")
    return tuple(
        Segment(f"label {label}", array, "lesion", _distinct_color(n), value=label)
        for n, label in enumerate(map(int, labels))
    )


def _slicer_segments(
    path: str | Path, array: npt.NDArray[np.generic], keys: Mapping[str, str], numbers: list[int]
) -> tuple[Segment, ...]:
    """The segments that a `.seg.nrrd` header describes, in its order."""
    layers = [array] if array.ndim == 3 else [np.ascontiguousarray(layer) for layer in np.moveaxis(array, -1, 0)]
    try:
        return tuple(_slicer_segment(layers, keys, n) for n in numbers)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: its segment headers are damaged; save it again from 3D Slicer.") from error


def _slicer_segment(layers: Sequence[Labels], keys: Mapping[str, str], n: int) -> Segment:
    """Segment n of the header; ValueError or IndexError if its keys are damaged."""

    def value(key: str, default: str) -> str:
        # SimpleITK escapes bytes that are not UTF-8: they come from old files in Latin-1.
        raw = keys.get(f"Segment{n}_{key}", default).encode("utf-8", "surrogateescape")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    # Before Slicer 4.11 every segment had a component of its own, without Layer and LabelValue.
    layer = int(value("Layer", str(n if len(layers) > 1 else 0)))
    if layer < 0:
        raise IndexError(layer)
    label = int(value("LabelValue", "1"))
    identifier = value("ID", "")
    name = value("Name", identifier)
    red, green, blue = (float(c) for c in value("Color", "0.5 0.5 0.5").split())
    tags = _parse_tags(value("Tags", ""))
    role = tags.pop(ROLE_TAG, "")
    known: Role = role if role in ("organ", "lesion") else role_of_name(name)  # type: ignore[assignment]
    return Segment(name, layers[layer], known, (red, green, blue), identifier, tags, label)


def _parse_tags(text: str) -> dict[str, str]:
    """Tags of "key:value|key:value|"; what follows a "|" without a key belongs to the value before it."""
    tags: dict[str, str] = {}
    key = ""
    for part in text.removesuffix("|").split("|"):
        head, colon, tail = part.partition(":")
        if colon:
            key = head
            tags[key] = tail
        elif key:
            tags[key] += f"|{part}"
    return {key: value for key, value in tags.items() if not _IDENTIFYING.search(key)}


def _layers(segmentation: Segmentation) -> tuple[list[Labels], list[tuple[int, int]]]:
    """Pack segments into as few label maps [z, y, x] as their overlaps allow, and say (layer, label) of each."""
    layers: list[npt.NDArray[np.uint16]] = []
    counts: list[int] = []
    places = []
    boxes = segmentation.boxes()
    for segment in segmentation.segments:
        box = boxes.get(segment.name, NOWHERE)
        mask = segment.within(box)
        free = (index for index, layer in enumerate(layers) if not layer[box][mask].any())
        index = next(free, len(layers))
        if index == len(layers):
            layers.append(np.zeros(segmentation.geometry.shape, np.uint16))
            counts.append(0)
        counts[index] += 1
        layers[index][box][mask] = counts[index]
        places.append((index, counts[index]))
    dtype = np.uint8 if max(counts) <= np.iinfo(np.uint8).max else np.uint16
    return [layer.astype(dtype) for layer in layers], places


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box around the voxels of a mask; None if it has none."""
    found: list[Box | None] = ndimage.find_objects(mask.view(np.uint8), max_label=1)
    return found[0]


def _boxes(labels: Labels) -> list[Box | None] | None:
    """The smallest box around the voxels of 1, 2, …; None where the label map is not of such numbers."""
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0 or labels.max() > LARGEST_FOUND:
        return None
    found: list[Box | None] = ndimage.find_objects(labels)
    return found


def unique(names: Iterable[str], numbered: str = "{} ({})") -> list[str]:
    """The names, the repeated ones with a number behind that makes a name that none of the others has."""
    found: list[str] = []
    given = list(names)
    for name in given:
        candidate, n = name, 1
        while candidate in found or (n > 1 and candidate in given):
            n += 1
            candidate = numbered.format(name, n)
        found.append(candidate)
    return found


def _distinct_color(n: int) -> tuple[float, float, float]:
    """The n-th of a sequence of colours that differ: hues a golden section apart."""
    return colorsys.hsv_to_rgb(0.618034 * n % 1.0, 0.6, 0.9)
