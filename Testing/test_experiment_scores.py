"""The scores of a field, and the same ones by filters of SimpleITK."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba import metrics
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.displacement import as_transform
from mirrba.experiment.scores import score
from mirrba.geometry import Geometry
from mirrba.transforms import displacement_field, read_transform
from recompute import recompute


@pytest.fixture(scope="module")
def pair(pair_folder, tmp_path_factory) -> Pair:
    root = tmp_path_factory.mktemp("cohort")
    shutil.copytree(pair_folder, root / "pair-001")
    return read_cohort(root).pairs[0]


@pytest.fixture(scope="module")
def truth(pair: Pair) -> sitk.Image:
    """The true field, as a method would give it."""
    grid = Geometry.from_image(pair.volumes()[0])
    return sitk.Cast(displacement_field(read_transform(pair.truth), grid), sitk.sitkVectorFloat32)


@pytest.fixture(scope="module")
def wrong(truth: sitk.Image) -> sitk.Image:
    """Short of the truth and rough: no score is perfect, some voxels fold."""
    values = sitk.GetArrayFromImage(truth)
    noise = np.random.default_rng(0).normal(0.0, 3.0, values.shape)
    return Geometry.from_image(truth).image((0.8 * values + noise).astype(np.float32), is_vector=True)


def test_the_true_field_scores_as_the_truth(pair, truth):
    scores = score(pair, truth)
    assert scores["tre_body_mm"] < 1e-3
    assert scores["tre_mm"] < 1.0  # landmarks lie between voxels
    assert scores["dice_organs"] > 0.9
    assert scores["detection_rate"] > 0.5  # some lesions shrink, and voxels are as large as they are
    assert scores["folding_fraction"] == 0


def test_no_displacement_scores_as_the_volumes_were_scanned(pair, truth):
    scores = score(pair, still(truth))
    fixed, moving = pair.segmentations()
    expected = metrics.evaluate(fixed, moving.onto(fixed.geometry), moving)
    for name in ("dice_organs", "dice_lesions", "detection_rate", "disappearing_rate"):
        assert scores[name] == expected[name]
    assert scores["sd_jacobian"] == pytest.approx(0.0, abs=1e-6)
    assert scores["tre_mm"] == pytest.approx(landmark_distance(pair), rel=1e-6)


def still(field: sitk.Image) -> sitk.Image:
    return Geometry.from_image(field).image(0 * sitk.GetArrayFromImage(field), is_vector=True)


def landmark_distance(pair: Pair) -> float:
    landmarks = metrics.read_landmarks(pair.landmarks)
    return float(np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1).mean())


@pytest.mark.parametrize("field", ["truth", "wrong"])
def test_scores_agree_with_simpleitk_s_own_filters(pair, field, request):
    found = request.getfixturevalue(field)
    ours, theirs = score(pair, found), recompute(pair, found)
    for name in (
        "dice_organs",
        "dice_lesions",
        "detection_rate",
        "disappearing_rate",
        "disappearing_rate_signed",
        "tre_mm",
    ):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6, abs=1e-9), name
    distances = [s["average_hausdorff_mm"] for s in ours["segments"] if s["average_hausdorff_mm"] is not None]
    assert np.mean(distances) == pytest.approx(theirs["average_hausdorff_mm"], rel=1e-5)
    # The body keeps off the faces of the volume, where ITK halves the differences.
    assert ours["sd_jacobian_body"] == pytest.approx(theirs["sd_jacobian_body"], rel=0.02)
    assert ours["sd_jacobian"] == pytest.approx(theirs["sd_jacobian"], rel=0.1)
    assert ours["folding_fraction"] == pytest.approx(theirs["folding_fraction"], abs=0.01)


def test_the_jacobian_is_simpleitk_s_inside_the_volume(wrong):
    ours = metrics.jacobian_determinant(as_transform(wrong), Geometry.from_image(wrong))
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(wrong))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-4)
    assert (ours <= 0).any()


def test_a_pair_without_truth_has_no_landmark_error(pair, truth):
    without = Pair(pair.name, pair.fixed, pair.moving, pair.fixed_segmentation, pair.moving_segmentation)
    scores = score(without, truth)
    assert scores["tre_mm"] is scores["tre_body_mm"] is None


def test_a_field_survives_its_use_as_a_transform(truth):
    before = sitk.GetArrayFromImage(truth)
    as_transform(truth)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(truth), before)
