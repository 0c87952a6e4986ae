"""Segmentations: read, written and warped; against SimpleITK's own resampling and 3D Slicer's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mirrba.errors import InputError, explained
from mirrba.geometry import Geometry
from mirrba.segments import ROLE_TAG, Segment, Segmentation, read_segmentation, role_of_name

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def oblique() -> tuple[float, ...]:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.5)
    return turn.GetMatrix()


def grid(size=(12, 10, 8), spacing=(2.0, 3.0, 4.0), origin=(-5.0, 7.0, 100.0), direction=STRAIGHT) -> Geometry:
    return Geometry(size, spacing, origin, tuple(direction))


GRIDS = {
    "straight": grid(),
    "flipped": grid(direction=FLIPPED),
    "permuted": grid(direction=(0, 0, 1, 1, 0, 0, 0, 1, 0)),
    "oblique": grid(direction=oblique()),
}


def ball(geometry: Geometry, center: tuple[int, int, int], radius: float) -> np.ndarray:
    """Mask of the voxels within `radius` voxels of `center` (z, y, x)."""
    z, y, x = np.indices(geometry.shape)
    return (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 <= radius**2


def some_segments(geometry: Geometry) -> Segmentation:
    """Overlapping, touching, single-voxel and empty segments."""
    single = np.zeros(geometry.shape, bool)
    single[1, 2, 3] = True
    segments = (
        Segment("Métastase hépatique ω 転移", ball(geometry, (4, 5, 6), 2), "lesion", (1.0, 0.5, 0.0), "S_1"),
        Segment("liver", ball(geometry, (4, 5, 5), 3.5), "organ", (0.2, 0.3, 0.4), "S_2", {"color": "a:b|c", "é": ""}),
        Segment("single", single, "lesion"),
        Segment("empty", np.zeros(geometry.shape, bool), "lesion"),
        Segment("heart of the tumour", ball(geometry, (4, 5, 7), 1), "organ"),
    )
    return Segmentation(segments, geometry)


def assert_same(read: Segmentation, written: Segmentation) -> None:
    assert read.geometry.size == written.geometry.size
    assert read.geometry.matrix == pytest.approx(written.geometry.matrix)
    assert read.geometry.origin == pytest.approx(written.geometry.origin)
    assert [s.name for s in read.segments] == [s.name for s in written.segments]
    for ours, theirs in zip(read.segments, written.segments, strict=True):
        np.testing.assert_array_equal(ours.mask, theirs.mask, err_msg=ours.name)
        assert ours.role == theirs.role
        assert ours.color == pytest.approx(theirs.color, abs=1e-5)
        assert dict(ours.tags) == dict(theirs.tags)


# The model


def test_same_names_stay_apart():
    mask = np.ones((2, 2, 2), bool)
    names = ["liver", "liver", "liver (2)", "liver"]
    segmentation = Segmentation(tuple(Segment(n, mask, "organ") for n in names), grid((2, 2, 2)))
    unique = [s.name for s in segmentation.segments]
    assert unique[0] == "liver"
    assert unique[2] == "liver (2)"
    assert len(set(unique)) == 4


def test_segments_must_be_on_the_grid():
    with pytest.raises(ValueError, match=r"label map of shape \(2, 2, 2\)"):
        Segmentation((Segment("a", np.ones((2, 2, 3), bool), "organ"),), grid((2, 2, 2)))
    with pytest.raises(ValueError, match="at least one"):
        Segmentation((), grid((2, 2, 2)))


@pytest.mark.parametrize("name", ["map.nrrd", "map.seg.nrrd"])
def test_many_lesions_take_the_memory_of_one(name, tmp_path):
    """Read from a file and warped, they share one label map."""
    geometry = grid((40, 8, 8))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[..., ::2] = np.arange(1, 21)
    alone = tuple(Segment(f"lesion {n}", labels == n, "lesion") for n in range(1, 21))
    if name == "map.nrrd":
        sitk.WriteImage(geometry.image(labels), str(tmp_path / name))
    else:
        Segmentation(alone, geometry).write(tmp_path / name)
    read = read_segmentation(tmp_path / name)
    warped = read.warp(sitk.TranslationTransform(3, [0.0, 0.0, 0.0]), geometry)
    for found in (read, warped):
        assert len(found.segments) == 20
        assert all(np.shares_memory(segment.labels, found.segments[0].labels) for segment in found.segments)
        for segment, truth in zip(found.segments, alone, strict=True):
            np.testing.assert_array_equal(segment.mask, truth.mask)


@pytest.mark.parametrize(
    "name", ["brain", "Urinary Bladder", "heart", "LIVER", "left_kidney", "Kidneys", "rightLung", "vertebrae_L5"]
)
def test_an_organ_word_makes_an_organ(name):
    assert role_of_name(name) == "organ"


# The 117 classes of TotalSegmentator's task "total": of the paired ones, the name without the side.
SINGLE = """
spleen gallbladder liver stomach pancreas lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right
lung_middle_lobe_right lung_lower_lobe_right esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder
prostate sacrum heart aorta pulmonary_vein brachiocephalic_trunk atrial_appendage_left superior_vena_cava
inferior_vena_cava portal_vein_and_splenic_vein spinal_cord brain skull sternum costal_cartilages vertebrae_S1
"""
PAIRED = """
kidney adrenal_gland kidney_cyst subclavian_artery common_carotid_artery brachiocephalic_vein iliac_artery iliac_vena
humerus scapula clavicula femur hip gluteus_maximus gluteus_medius gluteus_minimus autochthon iliopsoas
"""
TOTAL_SEGMENTATOR = [
    *SINGLE.split(),
    *(f"{name}_{side}" for name in PAIRED.split() for side in ("left", "right")),
    *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)),
    *(f"vertebrae_{part}{n}" for part, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(1, count + 1)),
]


def test_every_class_of_totalsegmentator_is_an_organ():
    assert len(set(TOTAL_SEGMENTATOR)) == 117
    assert [name for name in TOTAL_SEGMENTATOR if role_of_name(name) != "organ"] == []


@pytest.mark.parametrize(
    "name", ["ovaries", "testes", "Brainstem", "left Hippocampus", "both femora", "carotid arteries"]
)
def test_an_organ_of_another_form_is_an_organ(name):
    assert role_of_name(name) == "organ"


@pytest.mark.parametrize(
    "name",
    [
        "label 3",
        "liver lesion",
        "LiverTumour",
        "brain_metastases",
        "GTVp",
        "bone met 2",
        "sliver",
        "",
        "tumor bladder",
        "lesion in iliac vein",
        "liver metastasis",
        "tumour brainstem",
        "nodule beside vena cava",
        "gluteus met",
    ],
)
def test_a_lesion_word_or_no_organ_word_makes_a_lesion(name):
    assert role_of_name(name) == "lesion"


# Warping


@pytest.mark.parametrize("source", GRIDS)
@pytest.mark.parametrize("target", GRIDS)
def test_warping_is_simpleitk_s_nearest_neighbour_of_each_segment(source, target):
    segmentation, reference = some_segments(GRIDS[source]), GRIDS[target]
    transform = sitk.AffineTransform(3)
    transform.Rotate(0, 1, 0.2)
    transform.Translate((2.3, -1.1, 3.7))
    # The grids turn about their origins: bring the middle of one to that of the other.
    middle = [(n - 1) / 2 for n in reference.size]
    shift = np.subtract(segmentation.geometry.point(middle), transform.TransformPoint(reference.point(middle)))
    transform.Translate(shift.tolist())

    warped = segmentation.warp(transform, reference)

    assert warped.geometry == reference
    like = reference.image(np.zeros(reference.shape, np.uint8))
    for before, after in zip(segmentation.segments, warped.segments, strict=True):
        image = segmentation.geometry.image(before.mask.astype(np.uint8))
        expected = sitk.GetArrayFromImage(sitk.Resample(image, like, transform, sitk.sitkNearestNeighbor))
        np.testing.assert_array_equal(after.mask, expected.astype(bool))
        assert (after.name, after.role, after.color, after.tags) == (
            before.name,
            before.role,
            before.color,
            before.tags,
        )
    assert warped.segments[0].mask.any()


def test_a_segment_that_vanishes_by_warping_stays_empty():
    segmentation = some_segments(grid())
    warped = segmentation.warp(sitk.TranslationTransform(3, (1000.0, 0.0, 0.0)), grid())
    assert [s.name for s in warped.segments] == [s.name for s in segmentation.segments]
    assert not any(s.mask.any() for s in warped.segments)


def test_more_segments_than_a_byte_counts_are_warped_and_written_right(tmp_path):
    geometry = grid((10, 10, 3))
    masks = np.eye(300, dtype=bool).reshape(300, 3, 10, 10)
    segmentation = Segmentation(tuple(Segment(f"s{n}", mask, "lesion") for n, mask in enumerate(masks)), geometry)
    segmentation.write(tmp_path / "many.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "many.seg.nrrd"), segmentation)
    assert_same(segmentation.warp(sitk.Transform(3, sitk.sitkIdentity), geometry), segmentation)


@pytest.mark.parametrize("name", GRIDS)
def test_laying_onto_a_larger_grid_and_back_changes_nothing(name):
    segmentation = some_segments(GRIDS[name])
    larger = segmentation.geometry.cropped([-3, -2, -1], [14, 15, 16])
    laid = segmentation.onto(larger)
    for before, after in zip(segmentation.segments, laid.segments, strict=True):
        np.testing.assert_array_equal(after.mask[1:9, 2:12, 3:15], before.mask)
        assert after.mask.sum() == before.mask.sum()
    assert_same(laid.onto(segmentation.geometry), segmentation)


def test_laying_onto_a_flipped_grid_flips():
    straight = some_segments(grid())
    last = straight.geometry.point([11, 9, 0])
    flipped = straight.onto(grid(origin=last, direction=FLIPPED))
    for before, after in zip(straight.segments, flipped.segments, strict=True):
        np.testing.assert_array_equal(after.mask, before.mask[:, ::-1, ::-1])


# Files


@pytest.mark.parametrize("name", GRIDS)
def test_seg_nrrd_round_trip(name, tmp_path):
    segmentation = some_segments(GRIDS[name])
    path = tmp_path / "Läsionen.seg.nrrd"
    segmentation.write(path)
    read = read_segmentation(path)
    assert_same(read, segmentation)
    assert [s.id for s in read.segments][:2] == ["S_1", "S_2"]


# Slicer's tags have no escape for "|" and ":"; names may hold anything printable.
_texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
_segments = st.builds(
    Segment,
    name=_texts,
    labels=hnp.arrays(bool, (3, 4, 5))
    | hnp.arrays(st.sampled_from([np.uint8, np.int16, np.float32]), (3, 4, 5), elements=st.integers(0, 3))
    | hnp.arrays(np.int32, (3, 4, 5), elements=st.sampled_from([-5, 0, 1, 2, 3, 100000])),
    role=st.sampled_from(["organ", "lesion"]),
    color=st.tuples(*[st.floats(0, 1)] * 3),
    tags=st.dictionaries(_texts.map(lambda t: "k" + t.replace(":", "").replace("|", "")), _texts.map(str.strip)),
    value=st.integers(1, 3),
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_segments, min_size=1, max_size=5).filter(lambda segments: any(s.mask.any() for s in segments)))
def test_seg_nrrd_round_trip_of_anything(tmp_path, segments):
    segmentation = Segmentation(tuple(segments), grid((5, 4, 3)))
    boxes = segmentation.boxes()
    for segment in segmentation.segments:
        assert (segment.name in boxes) == segment.mask.any()
        if segment.name in boxes:
            box = boxes[segment.name]
            assert segment.within(box).sum() == segment.mask.sum()
            for axis in range(3):  # smaller, it would miss some
                faces = np.moveaxis(segment.within(box), axis, 0)
                assert faces[0].any()
                assert faces[-1].any()
    segmentation.write(tmp_path / "any.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "any.seg.nrrd"), segmentation)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_label_maps_give_a_segment_a_label(suffix, dtype, tmp_path):
    labels = np.zeros((8, 10, 12), dtype)
    labels[1:3] = 7
    labels[5, 5, 5] = 2
    path = tmp_path / f"labels{suffix}"
    sitk.WriteImage(grid(direction=oblique()).image(labels), str(path))
    read = read_segmentation(path)
    assert [(s.name, s.role) for s in read.segments] == [("label 2", "lesion"), ("label 7", "lesion")]
    np.testing.assert_array_equal(read.segments[0].mask, labels == 2)
    np.testing.assert_array_equal(read.segments[1].mask, labels == 7)
    assert read.geometry.matrix == pytest.approx(grid(direction=oblique()).matrix, abs=1e-5)
    assert read.segments[0].color != read.segments[1].color


def write_nrrd(path: Path, image: sitk.Image, **keys: str) -> Path:
    for key, value in keys.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    return path


def test_files_from_before_layers_have_a_component_a_segment(tmp_path):
    stack = np.zeros((3, 4, 5, 2), np.uint8)
    stack[0, :, :, 0] = 1
    stack[0, 1, :, 1] = 1
    image = grid((5, 4, 3)).image(stack, is_vector=True)
    keys = {"Segment0_ID": "A", "Segment0_Name": "brain", "Segment1_ID": "B", "Segment1_Name": "lesion"}
    read = read_segmentation(write_nrrd(tmp_path / "old.seg.nrrd", image, **keys))
    assert [(s.name, s.role, s.mask.sum()) for s in read.segments] == [("brain", "organ", 20), ("lesion", "lesion", 5)]


def test_names_in_latin_1_are_read(tmp_path):
    path = tmp_path / "old.seg.nrrd"
    image = grid((2, 2, 2)).image(np.ones((2, 2, 2), np.uint8))
    write_nrrd(path, image, Segment0_ID="A", Segment0_Name="Läsion")
    path.write_bytes(path.read_bytes().replace("Läsion".encode(), "Läsion".encode("latin-1")))
    assert read_segmentation(path).segments[0].name == "Läsion"


def test_the_role_tag_decides_and_an_unknown_role_does_not(tmp_path):
    def role(tag: str) -> str:
        image = grid((2, 2, 2)).image(np.ones((2, 2, 2), np.uint8))
        tags = f"{ROLE_TAG}:{tag}|"
        path = write_nrrd(tmp_path / "r.seg.nrrd", image, Segment0_ID="A", Segment0_Name="liver", Segment0_Tags=tags)
        return read_segmentation(path).segments[0].role

    assert role("lesion") == "lesion"
    assert role("organ") == "organ"
    assert role("nonsense") == "organ"


def image_of(array: np.ndarray, is_vector: bool = False) -> sitk.Image:
    return sitk.GetImageFromArray(array, isVector=is_vector)


BAD_IMAGES = {
    "empty": (image_of(np.zeros((2, 2, 2), np.uint8)), "the segmentation is empty"),
    "fractions": (image_of(np.full((2, 2, 2), 0.5, np.float32)), "whole numbers"),
    "nan": (image_of(np.full((2, 2, 2), np.nan, np.float32)), "whole numbers"),
    "infinite": (image_of(np.full((2, 2, 2), np.inf, np.float32)), "whole numbers"),
    "2-D": (image_of(np.ones((2, 2), np.uint8)), "2 dimensions"),
    "4-D": (image_of(np.ones((2, 2, 2, 2), np.uint8), is_vector=False), "4 dimensions"),
    "colours": (image_of(np.ones((2, 2, 2, 3), np.uint8), is_vector=True), "several values"),
    "an image": (image_of(np.arange(2000, dtype=np.int16).reshape(10, 10, 20)), "1999 different values"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_what_is_no_label_map_is_refused_by_name(name, tmp_path):
    image, message = BAD_IMAGES[name]
    path = tmp_path / "bad.nrrd"
    sitk.WriteImage(image, str(path))
    with pytest.raises(InputError, match=message) as refusal:
        read_segmentation(path)
    assert str(path) in str(refusal.value)


BAD_HEADERS = {
    "label": {"Segment0_LabelValue": "one"},
    "layer": {"Segment0_Layer": "3"},
    "negative layer": {"Segment0_Layer": "-1"},
    "colour": {"Segment0_Color": "1 2"},
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_damaged_header_is_refused_by_name(name, tmp_path):
    image = image_of(np.ones((2, 2, 2), np.uint8))
    path = write_nrrd(tmp_path / "bad.seg.nrrd", image, Segment0_ID="A", **BAD_HEADERS[name])
    with pytest.raises(InputError, match=r"bad\.seg\.nrrd.*damaged"):
        read_segmentation(path)


def test_segments_without_voxels_are_an_empty_segmentation(tmp_path):
    image = image_of(np.ones((2, 2, 2), np.uint8))
    path = write_nrrd(tmp_path / "none.seg.nrrd", image, Segment0_ID="A", Segment0_LabelValue="2")
    with pytest.raises(InputError, match=r"none\.seg\.nrrd: the segmentation is empty"):
        read_segmentation(path)


def test_missing_and_broken_files_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"missing\.nrrd: there is no such"):
        read_segmentation(tmp_path / "missing.nrrd")
    (tmp_path / "broken.nrrd").write_text("no image")
    with pytest.raises(InputError, match=r"broken\.nrrd: cannot be read"):
        read_segmentation(tmp_path / "broken.nrrd")


def test_writing_elsewhere_than_to_seg_nrrd_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.seg\.nrrd"):
        some_segments(grid()).write(tmp_path / "labels.nii.gz")


def test_a_segmentation_that_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(OSError, match="is the disk full") as caught:
        some_segments(grid()).write(tmp_path / "nowhere" / "labels.seg.nrrd")
    assert "check the disk" in str(explained(caught.value))


# 3D Slicer itself: masks are compared voxel by voxel through Slicer's own image-to-world matrices (RAS)


@pytest.fixture
def slicer_segmentation_node():
    """Slicer's library, and an empty segmentation node in a scene."""
    slicer = pytest.importorskip("slicer", reason="needs the package slicer-core")
    scene = slicer.vtkMRMLScene()
    yield slicer, scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    scene.Clear(True)


def slicer_mask(segmentation, identifier: str, geometry: Geometry) -> np.ndarray:
    """A segment of Slicer as a mask on our grid; every one of its voxels must fall on a voxel of ours."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segment = segmentation.GetSegment(identifier)
    image = segment.GetRepresentation("Binary labelmap")
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
    to_ras = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_ras)
    matrix = np.array([[to_ras.GetElement(row, column) for column in range(4)] for row in range(4)])
    indices = np.argwhere(array == segment.GetLabelValue())[:, ::-1] + (x0, y0, z0)
    lps = (indices @ matrix[:3, :3].T + matrix[:3, 3]) * (-1, -1, 1)
    ours = np.linalg.solve(geometry.matrix, (lps - geometry.origin).T).T
    assert ours == pytest.approx(np.round(ours), abs=1e-3)
    mask = np.zeros(geometry.shape, bool)
    mask[tuple(np.round(ours).astype(int)[:, ::-1].T)] = True
    return mask


def tag(segment, key: str) -> str:
    import vtk

    value = vtk.reference("")
    assert segment.GetTag(key, value)
    return str(value)


@pytest.mark.parametrize("name", GRIDS)
def test_slicer_opens_what_we_write(name, tmp_path, slicer_segmentation_node):
    slicer, node = slicer_segmentation_node
    ours = some_segments(GRIDS[name])
    ours.write(tmp_path / "ours.seg.nrrd")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "ours.seg.nrrd"))
    assert storage.ReadData(node)

    theirs = node.GetSegmentation()
    assert theirs.GetNumberOfSegments() == len(ours.segments)
    assert theirs.GetNumberOfLayers() == 3  # three of them overlap one another
    for n, segment in enumerate(ours.segments):
        loaded = theirs.GetNthSegment(n)
        assert loaded.GetName() == segment.name
        assert loaded.GetColor() == pytest.approx(segment.color, abs=1e-5)
        assert tag(loaded, ROLE_TAG) == segment.role
        np.testing.assert_array_equal(
            slicer_mask(theirs, theirs.GetNthSegmentID(n), ours.geometry), segment.mask, err_msg=segment.name
        )
    assert theirs.GetNthSegmentID(1) == "S_2"
    assert tag(theirs.GetNthSegment(1), "é") == ""


def fill_slicer_segmentation(slicer, node, segments: Segmentation) -> None:
    """Add the segments to a node by Slicer's own means, none knowing of the others."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    for row, sign in enumerate((-1, -1, 1)):
        for column in range(3):
            matrix.SetElement(row, column, sign * segments.geometry.matrix[row, column])
        matrix.SetElement(row, 3, sign * segments.geometry.origin[row])
    for segment in segments.segments:
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*segments.geometry.size)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = segment.mask.ravel()
        image.SetGeometryFromImageToWorldMatrix(matrix)
        loaded = slicer.vtkSegment()
        loaded.SetName(segment.name)
        loaded.SetColor(*segment.color)
        loaded.SetTag(ROLE_TAG, segment.role)
        loaded.SetTag("Other.Tag", "kept")
        loaded.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(loaded)


@pytest.mark.parametrize("collapsed", [False, True])
@pytest.mark.parametrize("name", GRIDS)
def test_we_read_what_slicer_writes(name, collapsed, tmp_path, slicer_segmentation_node):
    slicer, node = slicer_segmentation_node
    ours = some_segments(GRIDS[name])
    fill_slicer_segmentation(slicer, node, ours)
    if collapsed:  # shared label maps for what does not overlap, as the segment editor leaves them
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetCropToMinimumExtent(True)
    storage.SetFileName(str(tmp_path / "theirs.seg.nrrd"))
    assert storage.WriteData(node)

    cropped = read_segmentation(tmp_path / "theirs.seg.nrrd")
    assert cropped.segments[0].mask.size < ours.segments[0].mask.size
    read = cropped.onto(ours.geometry)
    for segment, expected in zip(read.segments, ours.segments, strict=True):
        assert (segment.name, segment.role) == (expected.name, expected.role)
        assert segment.color == pytest.approx(expected.color, abs=1e-5)
        assert segment.tags["Other.Tag"] == "kept"
        np.testing.assert_array_equal(segment.mask, expected.mask, err_msg=segment.name)
