"""The scores, against SimpleITK's filters, brute force, analytic fields and cases small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mirrba import metrics
from mirrba.errors import InputError
from mirrba.geometry import Geometry
from mirrba.segments import Segment, Segmentation
from scipy.spatial.distance import cdist

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SPACING = (2.0, 3.0, 4.5)


def oblique() -> tuple[float, ...]:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.5)
    return turn.GetMatrix()


STRAIGHT_GRID = Geometry((12, 10, 8), SPACING, (-5.0, 7.0, 100.0), STRAIGHT)
GRIDS = {
    "straight": STRAIGHT_GRID,
    "flipped": Geometry((12, 10, 8), SPACING, (-5.0, 7.0, 100.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "left-handed": Geometry((12, 10, 8), SPACING, (-5.0, 7.0, 100.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)),
    "oblique": Geometry((12, 10, 8), SPACING, (-5.0, 7.0, 100.0), oblique()),
}


def box(shape, *ranges: tuple[int, int]) -> np.ndarray:
    """Mask of low ≤ index < high along z, y, x."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def blobs(seed: int) -> np.ndarray:
    """An irregular mask that touches the faces of the array."""
    noise = sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=(9, 14, 12)))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 1.0)) > 0.1


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of which one of the six neighbours is not in the mask, by shifting."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(3):
        for shift in (-1, 1):
            inside &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    return mask & ~inside


masks = hnp.arrays(bool, (4, 5, 6))
fast = settings(max_examples=80, deadline=None, derandomize=True)


# Overlap


@pytest.mark.parametrize("seed", range(3))
def test_dice_is_simpleitk_s(seed):
    a, b = blobs(seed), blobs(seed + 10)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)))
    assert metrics.dice(a, b) == pytest.approx(measure.GetDiceCoefficient(), abs=1e-12)


def test_dice_and_overlap_by_hand():
    fixed = box((1, 1, 10), (0, 1), (0, 1), (0, 4))
    warped = box((1, 1, 10), (0, 1), (0, 1), (3, 9))
    nothing = np.zeros((1, 1, 10), bool)
    assert metrics.dice(warped, fixed) == pytest.approx(2 * 1 / (4 + 6))
    assert metrics.overlap(warped, fixed) == pytest.approx(1 / 4)
    assert metrics.dice(nothing, fixed) == 0
    assert metrics.overlap(nothing, fixed) == 0
    assert metrics.dice(nothing, nothing) is None
    assert metrics.overlap(warped, nothing) is None


@fast
@given(masks, masks)
def test_dice_is_symmetric_bounded_and_one_on_identity(a, b):
    if a.any():
        assert metrics.dice(a, a) == 1
    if a.any() or b.any():
        assert metrics.dice(a, b) == metrics.dice(b, a)
        assert 0 <= metrics.dice(a, b) <= 1
        assert (metrics.dice(a, b) == 0) == (not (a & b).any())


# Average Hausdorff distance


@pytest.mark.parametrize("seed", range(3))
def test_average_hausdorff_is_simpleitk_s_of_the_surfaces(seed):
    a, b = blobs(seed), blobs(seed + 10)
    images = []
    for mask in (a, b):
        image = sitk.GetImageFromArray(surface(mask).astype(np.uint8))
        image.SetSpacing(SPACING)
        images.append(image)
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(*images)
    expected = measure.GetAverageHausdorffDistance()
    assert expected > 0.1
    assert metrics.average_hausdorff_mm(a, b, SPACING) == pytest.approx(expected, rel=1e-5)


@fast
@given(masks, masks)
def test_average_hausdorff_is_the_mean_of_all_nearest_distances(a, b):
    if not (a.any() and b.any()):
        assert metrics.average_hausdorff_mm(a, b, SPACING) is None
        return
    distances = cdist(np.argwhere(surface(a)) * SPACING[::-1], np.argwhere(surface(b)) * SPACING[::-1])
    expected = (distances.min(axis=1).mean() + distances.min(axis=0).mean()) / 2
    assert metrics.average_hausdorff_mm(a, b, SPACING) == pytest.approx(expected, abs=1e-9)
    assert metrics.average_hausdorff_mm(b, a, SPACING) == pytest.approx(expected, abs=1e-9)
    assert metrics.average_hausdorff_mm(a, a, SPACING) == 0


@fast
@given(masks, masks, st.tuples(*[st.integers(0, 3)] * 3))
def test_moving_both_changes_no_score(a, b, shift):
    moved = [np.pad(mask, [(n, 4 - n) for n in shift]) for mask in (a, b)]
    assert metrics.dice(*moved) == metrics.dice(a, b)
    if a.any() and b.any():
        before = metrics.average_hausdorff_mm(a, b, SPACING)
        assert metrics.average_hausdorff_mm(*moved, SPACING) == pytest.approx(before, abs=1e-9)


def test_average_hausdorff_of_two_voxels_is_their_distance():
    a = box((9, 9, 9), (1, 2), (2, 3), (3, 4))
    b = box((9, 9, 9), (2, 3), (4, 5), (6, 7))
    expected = np.linalg.norm([1 * 4.5, 2 * 3.0, 3 * 2.0])
    assert metrics.average_hausdorff_mm(a, b, SPACING) == pytest.approx(expected)


def test_average_hausdorff_counts_the_surface_only():
    # The 5³ cube in the 7³ one: 98 of 125 voxels are surface, all 3 mm away from 218 others, of which
    # faces lie 1, edges √2 and corners √3 voxels off.
    inner, outer = box((9, 9, 9), *[(2, 7)] * 3), box((9, 9, 9), *[(1, 8)] * 3)
    faces, edges, corners = 6 * 25, 12 * 5, 8
    back = (faces + edges * np.sqrt(2) + corners * np.sqrt(3)) / (faces + edges + corners)
    assert metrics.average_hausdorff_mm(inner, outer, (3.0, 3.0, 3.0)) == pytest.approx(3 * (1 + back) / 2)


def test_volume_on_an_oblique_grid():
    mask = box((8, 10, 12), (0, 2), (0, 5), (0, 10))
    for grid in GRIDS.values():
        assert metrics.volume_ml(mask, grid) == pytest.approx(100 * 2 * 3 * 4.5 / 1000)


# Jacobian


def affine() -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((1.2, 0.1, -0.3, 0.05, 0.9, 0.2, -0.1, 0.15, 1.1))
    transform.SetTranslation((4.0, -7.0, 100.0))
    return transform


@pytest.mark.parametrize("name", GRIDS)
def test_jacobian_of_an_affine_is_its_determinant_everywhere(name):
    determinant = metrics.jacobian_determinant(affine(), GRIDS[name])
    assert determinant.shape == GRIDS[name].shape
    assert determinant.dtype == np.float32
    expected = np.linalg.det(np.reshape(affine().GetMatrix(), (3, 3)))
    np.testing.assert_allclose(determinant, expected, rtol=1e-6)


def physical_points(grid: Geometry) -> np.ndarray:
    """The points of a grid, [z, y, x, 3] in mm, LPS, from SimpleITK."""
    return sitk.GetArrayFromImage(
        sitk.PhysicalPointSource(sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction)
    )


def sinusoid(grid: Geometry) -> tuple[sitk.Transform, np.ndarray]:
    """x → x + d sin(k·x) on a grid, and its determinant 1 + (d·k) cos(k·x)."""
    wave, push = np.array([0.05, -0.04, 0.03]), np.array([4.0, 3.0, -5.0])
    phase = physical_points(grid) @ wave
    transform = sitk.DisplacementFieldTransform(grid.image(np.sin(phase)[..., None] * push, is_vector=True))
    return transform, 1 + push @ wave * np.cos(phase)


@pytest.mark.parametrize("name", GRIDS)
def test_jacobian_of_a_sinusoid_is_the_analytic_one(name):
    grid = GRIDS[name]
    transform, expected = sinusoid(grid)
    determinant = metrics.jacobian_determinant(transform, grid)
    assert expected.std() > 0.01
    # A central difference takes sin(θ) for θ, the phase from voxel to voxel: at most 0.05·2 + 0.04·3 + 0.03·4.5.
    inside = np.s_[1:-1, 1:-1, 1:-1]
    error = np.abs(determinant - expected)[inside].max()
    assert error < 0.355**2 / 6 * np.abs(expected - 1).max() * 1.5


def test_jacobian_is_simpleitk_s_on_straight_grids():
    rng = np.random.default_rng(0)
    field = STRAIGHT_GRID.image(rng.normal(size=(8, 10, 12, 3)), is_vector=True)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    determinant = metrics.jacobian_determinant(sitk.DisplacementFieldTransform(field), STRAIGHT_GRID)
    inside = np.s_[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(determinant[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("planes", [1, 2, 3, 7])
def test_jacobian_does_not_depend_on_the_slabs(planes, monkeypatch):
    grid = GRIDS["oblique"]
    transform, _ = sinusoid(grid)
    whole = metrics.jacobian_determinant(transform, grid)
    monkeypatch.setattr(metrics, "SLAB_VOXELS", planes * 120)
    np.testing.assert_allclose(metrics.jacobian_determinant(transform, grid), whole, rtol=1e-6)


def test_jacobian_of_a_mirror_is_negative():
    mirror = sitk.ScaleTransform(3, (-1.0, 1.0, 1.0))
    np.testing.assert_allclose(metrics.jacobian_determinant(mirror, GRIDS["oblique"]), -1, rtol=1e-5)


def test_jacobian_of_a_single_slice_is_refused():
    with pytest.raises(InputError, match="two voxels"):
        metrics.jacobian_determinant(affine(), Geometry((5, 5, 1), SPACING, (0.0, 0.0, 0.0), STRAIGHT))


def test_regularity_by_hand():
    jacobian = np.ones((2, 2, 5), np.float32)
    jacobian[0, 0, :2] = (-1, 0)
    body = box((2, 2, 5), (0, 1), (0, 1), (0, 2))
    scores = metrics.evaluate(jacobian=jacobian, body=body)
    assert scores["folding_fraction"] == pytest.approx(2 / 20)
    assert scores["sd_jacobian"] == pytest.approx(np.std([-1, 0] + [1] * 18))
    assert scores["sd_jacobian_body"] == pytest.approx(0.5)
    assert metrics.evaluate(jacobian=jacobian, body=np.zeros_like(body))["sd_jacobian_body"] is None


# Target registration error


def test_error_of_a_transform_over_a_mask(monkeypatch):
    grid = GRIDS["oblique"]
    transform = affine()
    truth = sitk.TranslationTransform(3, (1.0, 2.0, -1.0))
    mask = box(grid.shape, (2, 7), (1, 9), (0, 3))
    image = grid.image(mask.astype(np.uint8))
    distances = []
    for z, y, x in np.argwhere(mask).tolist():
        point = image.TransformIndexToPhysicalPoint((x, y, z))
        distances.append(np.linalg.norm(np.subtract(transform.TransformPoint(point), truth.TransformPoint(point))))
    assert metrics.transform_error_mm(transform, truth, mask, grid) == pytest.approx(np.mean(distances))
    monkeypatch.setattr(metrics, "SLAB_VOXELS", 120)
    assert metrics.transform_error_mm(transform, truth, mask, grid) == pytest.approx(np.mean(distances))
    assert metrics.transform_error_mm(transform, truth, np.zeros_like(mask), grid) is None


HEADER = "name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n"


def landmarks_file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "landmarks.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_landmark_error_by_hand(tmp_path, encoding):
    path = landmarks_file(tmp_path, HEADER + "crâne,0,0,0,1,2,3\nT1,10,20,30,11,25,33\n", encoding)
    landmarks = metrics.read_landmarks(path)
    assert landmarks.names == ("crâne", "T1")
    shift = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
    assert metrics.landmark_error_mm(shift, landmarks) == pytest.approx((0 + 3) / 2)


def test_columns_of_landmarks_may_come_in_any_order(tmp_path):
    path = landmarks_file(tmp_path, "moving_z,moving_y,moving_x,fixed_z,fixed_y,fixed_x,note,name\n6,5,4,3,2,1,!,a\n")
    landmarks = metrics.read_landmarks(path)
    assert landmarks.fixed.tolist() == [[1, 2, 3]]
    assert landmarks.moving.tolist() == [[4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lack the columns name, fixed_x"),
        ("name,fixed_x,fixed_y,fixed_z,moving_x,moving_y\na,1,2,3,4,5\n", "lack the columns moving_z"),
        (HEADER, "no landmarks"),
        (HEADER + "a,1,2,3,4,5,6\nb,1,2,3,4,5,six\n", "line 3"),
        (HEADER + "a,1,2,3,4,5\n", "line 2"),
        (HEADER + "a,1,2,3,4,5,nan\n", "line 2"),
    ],
)
def test_bad_landmarks_are_refused_by_name(text, message, tmp_path):
    path = landmarks_file(tmp_path, text)
    with pytest.raises(InputError, match=message) as refusal:
        metrics.read_landmarks(path)
    assert str(path) in str(refusal.value)


def test_unreadable_landmarks_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"missing\.csv"):
        metrics.read_landmarks(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"binary\.csv"):
        metrics.read_landmarks(tmp_path / "binary.csv")


# Everything together


def row(low: int, high: int, length: int = 40) -> np.ndarray:
    """Mask of low ≤ x < high in a row of voxels, two by two thick."""
    return box((2, 2, length), (0, 2), (0, 2), (low, high))


def segmentation(length: int = 40, first: int = 0, spacing: float = 10.0, **segments: np.ndarray) -> Segmentation:
    """Segments on a row of voxels of 1 ml (10 mm) that begins with voxel `first`; "organ_" in a name makes an organ."""
    grid = Geometry((length, 2, 2), (spacing,) * 3, (10.0 * first, 0.0, 0.0), STRAIGHT)
    made = (Segment(name, mask, "organ" if "organ_" in name else "lesion") for name, mask in segments.items())
    return Segmentation(tuple(made), grid)


def a_follow_up() -> tuple[Segmentation, Segmentation, Segmentation]:
    """Fixed, warped, moving: organs, lesions that are found, missed, lost by warping, vanished, grown, appeared."""
    fixed = segmentation(
        organ_brain=row(0, 4),
        organ_missing=row(0, 2),
        found=row(10, 14),
        missed=row(20, 24),
        lost=row(38, 40),
        appeared=row(35, 36),
        gone=np.zeros((2, 2, 40), bool),
    )
    warped = segmentation(
        organ_brain=row(1, 5),
        found=row(11, 15),
        missed=row(22, 26),
        lost=np.zeros((2, 2, 40), bool),
        gone=row(16, 17),
        swollen=row(30, 33),
    )
    moving = segmentation(
        organ_brain=row(0, 5),
        found=row(0, 4),
        missed=row(0, 4),
        lost=row(5, 6),
        gone=row(8, 12),
        swollen=row(30, 32),
    )
    return fixed, warped, moving


def test_a_follow_up_by_hand():
    scores = metrics.evaluate(*a_follow_up(), tre_mm=1.5)
    by_name = {s["name"]: s for s in scores["segments"]}
    assert list(by_name) == [
        *("organ_brain", "organ_missing", "found", "missed", "lost", "appeared", "gone", "swollen"),
    ]
    assert {name: s["fate"] for name, s in by_name.items()} == {
        "organ_brain": "persisting",
        "organ_missing": None,
        "found": "persisting",
        "missed": "persisting",
        "lost": "persisting",
        "appeared": "appeared",
        "gone": "vanished",
        "swollen": "vanished",
    }
    assert by_name["found"] == {
        "name": "found",
        "role": "lesion",
        "dice": 0.75,
        "average_hausdorff_mm": pytest.approx((10 + 10) / 4 / 2),
        "fixed_ml": pytest.approx(16),
        "moving_ml": pytest.approx(16),
        "warped_ml": pytest.approx(16),
        "overlap": 0.75,
        "fate": "persisting",
        "max_moving": None,  # no image was given
        "mean_moving": None,
        "max_fixed": None,
        "mean_fixed": None,
        "moved_mm": pytest.approx(110),
        "centre_fixed_lps": pytest.approx([125, 5, 5]),
        "centre_moving_lps": pytest.approx([15, 5, 5]),
    }
    assert by_name["missed"]["overlap"] == 0.5  # not above one half
    assert (by_name["lost"]["dice"], by_name["lost"]["overlap"]) == (0, 0)
    assert by_name["lost"]["average_hausdorff_mm"] is None
    for name in ("organ_missing", "appeared", "gone", "swollen"):
        assert by_name[name]["dice"] is None
        assert by_name[name]["overlap"] is None
    assert by_name["swollen"]["fixed_ml"] is None
    assert by_name["gone"]["fixed_ml"] == 0
    assert scores["dice_organs"] == 0.75
    assert scores["dice_lesions"] == pytest.approx((0.75 + 0.5 + 0) / 3)
    assert scores["detection_rate"] == pytest.approx(1 / 3)
    assert scores["disappearing_rate"] == pytest.approx((0.75 + 0) / 2)
    assert scores["disappearing_rate_signed"] == pytest.approx((0.75 - 0.5) / 2)
    assert scores["tre_mm"] == 1.5


def test_without_moving_what_was_warped_was_there():
    fixed, warped, _ = a_follow_up()
    scores = metrics.evaluate(fixed, warped)
    fates = {s["name"]: s["fate"] for s in scores["segments"]}
    assert fates["lost"] == "persisting"
    assert fates["swollen"] == "vanished"
    assert fates["appeared"] == "appeared"
    assert scores["detection_rate"] == pytest.approx(1 / 3)
    assert scores["disappearing_rate"] is None


def test_a_warped_segmentation_that_lacks_a_segment_missed_it():
    both = segmentation(a=row(0, 2), b=row(5, 9))
    scores = metrics.evaluate(both, segmentation(b=row(5, 9)), both)
    assert [s["dice"] for s in scores["segments"]] == [0, 1]
    assert scores["detection_rate"] == 0.5


def test_scores_are_json_without_nan():
    scores = metrics.evaluate(*a_follow_up(), jacobian=np.ones((2, 2, 2), np.float32), body=np.ones((2, 2, 2), bool))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    numbers = [value for segment in [scores, *scores["segments"]] for value in segment.values()]
    assert not any(isinstance(number, np.generic) for number in numbers)


def test_nothing_gives_nothing_but_every_key():
    scores = metrics.evaluate()
    assert scores.pop("segments") == []
    assert set(scores) == {
        *("dice_organs", "dice_lesions", "detection_rate", "disappearing_rate", "disappearing_rate_signed"),
        *("sd_jacobian", "sd_jacobian_body", "folding_fraction", "tre_mm", "seconds", "peak_memory_mb"),
    }
    assert set(scores.values()) == {None}


@pytest.mark.parametrize("names", [("lesion 1 1", "lesion 11"), ("L1", "l1"), ("lesion 11", "Lesion 11", "lesion 1 1")])
def test_names_that_are_nearly_the_same_stay_apart(names):
    rows = {name: row(8 * n, 8 * n + 3 + n) for n, name in enumerate(names)}
    scores = metrics.evaluate(segmentation(**rows), segmentation(**rows), segmentation(**rows))
    assert [(s["name"], s["dice"], s["fate"]) for s in scores["segments"]] == [(n, 1, "persisting") for n in names]
    assert [s["moving_ml"] for s in scores["segments"]] == pytest.approx([4 * (3 + n) for n in range(len(names))])


def test_names_that_differ_in_case_and_spaces_correspond_where_no_other_does():
    fixed = segmentation(**{"Lesion 1": row(0, 4), "lesion 2": row(10, 14), "A b": row(20, 24), "AB": row(30, 34)})
    warped = segmentation(**{"lesion1": row(0, 4), "LESION 2": row(11, 15), "lesion 2": row(12, 16), "ab": row(20, 24)})
    scores = metrics.evaluate(fixed, warped)
    assert [(s["name"], s["dice"], s["fate"]) for s in scores["segments"]] == [
        ("Lesion 1", 1, "persisting"),
        ("lesion 2", 0.5, "persisting"),  # with "lesion 2", not with "LESION 2"
        ("A b", None, "appeared"),  # "ab" might be either
        ("AB", None, "appeared"),
        ("LESION 2", None, "vanished"),
        ("ab", None, "vanished"),
    ]


def test_sole_lesions_correspond_whatever_their_names():
    fixed, warped = segmentation(GTV=row(0, 4)), segmentation(lesions=row(1, 5))
    scores = metrics.evaluate(fixed, warped, segmentation(lesions=row(9, 12)))
    assert [s["name"] for s in scores["segments"]] == ["GTV"]
    assert scores["dice_lesions"] == 0.75
    assert scores["segments"][0]["moving_ml"] == pytest.approx(12)


def test_sole_lesions_do_not_correspond_where_other_names_do():
    fixed = segmentation(organ_brain=row(0, 4), new=row(10, 14))
    warped = segmentation(organ_brain=row(0, 4), old=row(10, 14))
    scores = metrics.evaluate(fixed, warped)
    assert [(s["name"], s["fate"]) for s in scores["segments"]] == [
        ("organ_brain", "persisting"),
        ("new", "appeared"),
        ("old", "vanished"),
    ]
    assert scores["dice_lesions"] is None


def test_several_lesions_of_other_names_do_not_correspond():
    scores = metrics.evaluate(segmentation(a=row(0, 4), b=row(5, 6)), segmentation(c=row(0, 4)))
    assert scores["dice_lesions"] is None


# What a reader measures


def ramp(grid: Geometry) -> sitk.Image:
    """An image whose voxels count on from 0 along x, y, z."""
    return grid.image(np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape))


@pytest.mark.parametrize("name", GRIDS)
def test_uptake_and_centre_are_simpleitk_s(name):
    """On a segmentation that covers, as Slicer's files do, a part of the image's lattice."""
    grid = GRIDS[name]
    image = ramp(grid)
    part = grid.cropped([2, 1, 3], [9, 10, 8])
    mask = np.random.default_rng(0).random(part.shape) > 0.6
    drawn = Segmentation((Segment("a", mask, "lesion"),), part)
    (row,) = metrics.evaluate(warped=drawn, moving=drawn, fixed_image=image * 2, moving_image=image)["segments"]
    label = part.image(mask.astype(np.uint8))
    inside = sitk.LabelStatisticsImageFilter()
    inside.Execute(image, sitk.Resample(label, image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(label)
    assert row["max_moving"] == inside.GetMaximum(1)
    assert row["mean_moving"] == pytest.approx(inside.GetMean(1))
    assert (row["max_fixed"], row["mean_fixed"]) == pytest.approx((2 * row["max_moving"], 2 * row["mean_moving"]))
    for key in ("centre_moving_lps", "centre_fixed_lps"):
        assert row[key] == pytest.approx(shape.GetCentroid(1), abs=1e-6)
    assert row["moved_mm"] == 0


def test_measures_need_no_fixed_segmentation():
    scores = metrics.evaluate(None, segmentation(a=row(10, 14)), segmentation(a=row(0, 2)))
    (a,) = scores["segments"]
    assert (a["moving_ml"], a["warped_ml"], a["fixed_ml"]) == (pytest.approx(8), pytest.approx(16), None)
    assert (a["dice"], a["overlap"], a["fate"]) == (None, None, None)
    assert a["moved_mm"] == pytest.approx(110)
    assert scores["detection_rate"] is None
    assert scores["disappearing_rate"] is None


def test_a_segment_that_vanished_by_warping_is_where_the_transform_brings_its_centre():
    nothing = np.zeros((2, 2, 40), bool)
    warped, moving = segmentation(lost=nothing, never=nothing), segmentation(lost=row(4, 6), never=nothing)
    inverse = sitk.TranslationTransform(3, (100.0, 0.0, -3.0))
    image = ramp(warped.geometry)
    scores = metrics.evaluate(None, warped, moving, fixed_image=image, moving_image=image, inverse=inverse)
    lost, never = scores["segments"]
    assert lost["centre_moving_lps"] == pytest.approx([45, 5, 5])
    assert lost["centre_fixed_lps"] == pytest.approx([145, 5, 2])
    assert (lost["moved_mm"], lost["max_fixed"], lost["mean_fixed"]) == (None, None, None)
    assert lost["max_moving"] is not None
    measures = ("max_moving", "mean_moving", "max_fixed", "mean_fixed", "moved_mm", "centre_fixed_lps")
    assert {never[key] for key in (*measures, "centre_moving_lps")} == {None}
    assert metrics.evaluate(None, warped, moving)["segments"][0]["centre_fixed_lps"] is None


def test_a_lesion_that_appeared_is_measured_where_it_is_drawn():
    fixed, before = segmentation(new=row(10, 14), old=row(0, 2)), segmentation(old=row(1, 3))
    image = ramp(fixed.geometry)
    scores = metrics.evaluate(fixed, before, before, fixed_image=image, moving_image=image)
    new, old = scores["segments"]
    assert new["fate"] == "appeared"
    assert (new["max_fixed"], new["mean_fixed"]) == (3 * 40 + 13, pytest.approx(1.5 * 40 + 11.5))
    assert new["centre_fixed_lps"] == pytest.approx([115, 5, 5])
    assert {new[key] for key in ("max_moving", "mean_moving", "moved_mm", "centre_moving_lps")} == {None}
    assert old["centre_fixed_lps"] == pytest.approx([15, 5, 5])  # where the warped one is


def test_measures_follow_segments_whose_names_differ():
    fixed, warped = segmentation(GTV=row(0, 4)), segmentation(lesions=row(1, 5))
    scores = metrics.evaluate(fixed, warped, segmentation(lesions=row(9, 12)), fixed_image=ramp(fixed.geometry))
    (row_of_gtv,) = scores["segments"]
    assert row_of_gtv["max_fixed"] == 3 * 40 + 4  # the last row's fifth voxel
    assert row_of_gtv["centre_moving_lps"] == pytest.approx([100, 5, 5])


# Grids


def test_extents_of_one_lattice_do_not_matter():
    whole = metrics.evaluate(segmentation(a=row(5, 9)), segmentation(a=row(7, 11)))
    fixed_crop = segmentation(length=5, first=4, a=row(1, 5, length=5))
    warped_crop = segmentation(length=8, first=6, a=row(1, 5, length=8))
    assert metrics.evaluate(fixed_crop, warped_crop) == whole
    assert metrics.evaluate(segmentation(a=row(5, 9)), warped_crop) == whole
    assert whole["dice_lesions"] == 0.5


def test_crops_that_lie_apart_score_zero():
    scores = metrics.evaluate(
        segmentation(length=2, first=0, a=row(0, 2, length=2)), segmentation(length=2, first=30, a=row(0, 2, length=2))
    )
    assert scores["dice_lesions"] == 0
    assert scores["segments"][0]["average_hausdorff_mm"] == pytest.approx(295)


def turned(other: Segmentation) -> Segmentation:
    grid = other.geometry
    return Segmentation(other.segments, Geometry(grid.size, grid.spacing, grid.origin, oblique()))


@pytest.mark.parametrize(
    ("warped", "message"),
    [
        (segmentation(spacing=9.0, a=row(0, 4)), "fixed and the warped segmentation lie on different grids"),
        (segmentation(first=0.5, a=row(0, 4)), "fixed and the warped segmentation lie on different grids"),
        (turned(segmentation(a=row(0, 4))), "fixed and the warped segmentation lie on different grids"),
        (segmentation(first=100_000, a=row(0, 4)), "fixed and the warped segmentation lie metres apart"),
    ],
)
def test_other_lattices_are_refused(warped, message):
    with pytest.raises(InputError, match=message):
        metrics.evaluate(segmentation(a=row(0, 4)), warped)


def test_geometry_rounded_by_a_file_is_the_same_lattice():
    fixed = segmentation(a=row(0, 4))
    grid = fixed.geometry
    rounded = Geometry(grid.size, (10.00001, 10.0, 10.0), (1e-5, 0.0, 0.0), grid.direction)
    assert metrics.evaluate(fixed, Segmentation(fixed.segments, rounded))["dice_lesions"] == 1
