"""Pairs made of a real PET: where its lesions lie, what the scanner sees of them, and the known motion."""

import dataclasses
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import metrics
from mirrba.errors import InputError
from mirrba.geometry import Geometry
from mirrba.images import body_mask
from mirrba.phantom import make_pair
from mirrba.phantom.implants import Voxels, implant, points_of, seen
from mirrba.phantom.lesions import Lesion
from mirrba.phantom.scanner import SCANNERS, scan
from mirrba.phantom.shapes import Ellipsoid, rotation
from mirrba.phantom.warped import GAIN, _noise, warped_pair

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


@pytest.fixture(scope="module")
def pet():
    """A made examination stands for a real one."""
    made = make_pair(spacing=8.0, seed=3).moving
    z, y, x = made.grid.shape
    return Geometry((x, y, z), (8.0,) * 3, made.grid.origin, tuple(np.eye(3).ravel())).image(made.image)


@pytest.fixture(scope="module")
def pair(pet):
    return warped_pair(pet, seed=4)


def masks(segmentation):
    return {segment.name: segment.mask for segment in segmentation.segments}


def values(image):
    return sitk.GetArrayFromImage(image).astype(np.float64)


def near(pair, voxels=2):
    """Around any lesion, on the moving and the fixed grid."""
    found = []
    for lesions in (pair.moving_lesions, pair.fixed_lesions):
        union = np.any([segment.mask for segment in lesions.segments], axis=0).astype(np.uint8)
        found.append(sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(union), [voxels] * 3)) > 0)
    return found


def test_lesions_lie_apart_in_the_body_and_keep_away_from_what_is_hot(pair, pet):
    found = masks(pair.moving_lesions)
    body = sitk.GetArrayFromImage(body_mask(pet)) > 0
    smooth = values(sitk.SmoothingRecursiveGaussian(pet, 3.0))
    assert smooth.max() > 5 * values(pet)[body].mean()  # the brain, the bladder
    assert 5 <= len(found) <= 25
    assert np.sum(list(found.values()), axis=0).max() == 1
    for mask in found.values():
        assert mask.any()
        assert body[mask].all()
        assert smooth[mask].max() < 2.5 * values(pet)[body].mean()


def test_some_vanish_some_appear_and_what_stays_lies_where_the_truth_takes_it(pair):
    before, after = masks(pair.moving_lesions), masks(pair.fixed_lesions)
    assert before.keys() - after.keys()
    assert after.keys() - before.keys()
    taken = masks(pair.moving_lesions.warp(pair.truth, pair.fixed_lesions.geometry))
    centres = []
    for name in before.keys() & after.keys():
        placed = [np.argwhere(mask).mean(axis=0) for mask in (taken[name], after[name])]
        centres.append(np.linalg.norm(np.subtract(*placed)))
        smaller = min(taken[name].sum(), after[name].sum())
        assert (taken[name] & after[name]).sum() >= 0.5 * smaller  # where it shrank or grew, one holds the other
    assert np.mean(centres) < 0.5  # voxels


def test_the_images_show_the_lesions_and_are_the_pet_elsewhere(pair, pet):
    moving, fixed = values(pair.moving), values(pair.fixed)
    around_moving, around_fixed = near(pair)
    np.testing.assert_allclose(moving[~around_moving], values(pet)[~around_moving], atol=0.15)
    grid = Geometry.from_image(pair.fixed)
    plain = GAIN * values(grid.resample(pet, pair.truth))
    body = (sitk.GetArrayFromImage(body_mask(pair.fixed)) > 0) & ~around_fixed
    assert np.corrcoef(plain[body], fixed[body])[0, 1] > 0.98
    assert fixed[body].mean() == pytest.approx(plain[body].mean(), rel=0.03)
    for image, without, lesions in ((moving, values(pet), pair.moving_lesions), (fixed, plain, pair.fixed_lesions)):
        rises = [image[segment.mask].mean() - without[segment.mask].mean() for segment in lesions.segments]
        assert min(rises) > 0.3
        assert np.mean(rises) > 1.5


def test_the_motion_is_known_smooth_and_shows_nothing_that_the_pet_does_not(pair, pet):
    grid = Geometry.from_image(pair.fixed)
    assert metrics.jacobian_determinant(pair.truth, grid).min() > 0.2
    body = np.argwhere(sitk.GetArrayFromImage(body_mask(pair.fixed)))[::40, ::-1]
    points = [pair.fixed.TransformIndexToPhysicalPoint(index) for index in body.tolist()]
    moved = [np.linalg.norm(np.subtract(pair.truth.TransformPoint(point), point)) for point in points]
    assert np.mean(moved) > 10
    heights = [pet.TransformPhysicalPointToContinuousIndex(pair.truth.TransformPoint(point))[2] for point in points]
    assert -1e-6 <= min(heights) <= max(heights) <= pet.GetSize()[2] - 1 + 1e-6


def test_a_seed_is_one_pair(pet, pair):
    again, other = warped_pair(pet, seed=4), warped_pair(pet, seed=5)
    np.testing.assert_array_equal(values(again.fixed), values(pair.fixed))
    np.testing.assert_array_equal(values(again.moving), values(pair.moving))
    assert values(other.fixed).shape != values(pair.fixed).shape or not np.allclose(
        values(other.fixed), values(pair.fixed)
    )


def test_counts_for_suv_give_the_same_lesions(pet, pair):
    """Uptake is drawn in means over the body, so the unit of the PET does not matter."""
    counts = warped_pair(pet * 5000.0, seed=4)
    assert masks(counts.fixed_lesions).keys() == masks(pair.fixed_lesions).keys()
    np.testing.assert_allclose(values(counts.fixed) / 5000, values(pair.fixed), rtol=1e-3, atol=1e-3)


def test_a_volume_without_room_is_refused():
    small = sitk.Image([20, 20, 9], sitk.sitkFloat32)
    small.SetSpacing((8.0, 8.0, 8.0))
    small[5:15, 5:15, 2:7] = 1.0
    with pytest.raises(InputError, match="no room for lesions"):
        warped_pair(small, seed=0)


# ----- the parts


OBLIQUE = tuple(rotation([0.2, -0.1, 0.3]).ravel().tolist())
GRID = Geometry((30, 26, 34), (3.0, 3.5, 2.5), (12.0, -40.0, 7.0), OBLIQUE)


def whole(found):
    mask = np.zeros(GRID.shape, bool)
    mask[found.box] = found.mask
    return mask


def test_the_added_noise_is_a_scanner_s():
    scanner, voxels = SCANNERS[0], np.full(GRID.shape, 2.0)
    grid = dataclasses.replace(GRID, spacing=(3.0, 3.0, 3.0))
    expected = scan(voxels, 3.0, scanner.fwhm, scanner.noise, np.random.default_rng(0)).std()
    found = _noise(5.0 * voxels, 5.0, grid, np.random.default_rng(1))  # in another unit
    assert found.std() / 5.0 == pytest.approx(expected, rel=0.1)
    assert abs(found.mean()) < 0.1 * found.std()


def test_the_follow_up_has_noise_of_its_own(pair, pet):
    grid = Geometry.from_image(pair.fixed)
    rest = values(pair.fixed) / GAIN - np.clip(values(grid.resample(pet, pair.truth, sitk.sitkBSpline3)), 0, None)
    body = (sitk.GetArrayFromImage(body_mask(pair.fixed)) > 0) & ~near(pair)[1]
    assert 0.02 < rest[body].std() < 0.2


def test_slices_lie_across_the_body_whatever_the_order_of_the_axes(pet, pair):
    coronal = warped_pair(sitk.PermuteAxes(pet, [0, 2, 1]), seed=4)
    assert coronal.fixed.GetSize() == pair.fixed.GetSize()
    np.testing.assert_array_equal(values(coronal.fixed), values(pair.fixed))


def test_a_lesion_out_of_the_field_of_view_is_not_there():
    assert seen([lesion((900.0, 0.0, 0.0), (10, 9, 8))], GRID, IDENTITY, follow_up=False) == []


def lesion(centre, radii, turn=(0.0, 0.0, 0.0)):
    shape = Ellipsoid(np.zeros(3), np.array(radii) / 10.0, rotation(turn))
    return Lesion("lesion 01", "bone", "shrink", np.array(centre), shape, 10.0, 5.0, 6.0, 5.0)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(8.0, 14.0)] * 3),
    st.tuples(*[st.floats(-1.0, 1.0)] * 3),
    st.tuples(*[st.floats(-4.0, 4.0)] * 3),
)
def test_shares_add_up_to_the_volume_of_the_ellipsoid(radii, turn, shift):
    middle = np.array(GRID.point([(n - 1) / 2 for n in GRID.size]))
    (found,) = seen([lesion(middle + shift, radii, turn)], GRID, IDENTITY, follow_up=False)
    voxel = math.prod(GRID.spacing)
    expected = 4 / 3 * math.pi * math.prod(radii)
    assert found.share.sum() * voxel == pytest.approx(expected, rel=0.03)
    assert found.mask.sum() * voxel == pytest.approx(expected, rel=0.15)
    solid = Ellipsoid(middle + shift, np.array(radii), rotation(turn))
    np.testing.assert_array_equal(whole(found), solid.contains(points_of(GRID)))


def test_a_lesion_is_seen_where_the_motion_comes_from():
    middle = np.array(GRID.point([(n - 1) / 2 for n in GRID.size]))
    shift = sitk.TranslationTransform(3, (9.0, -6.0, 4.0))
    (found,) = seen([lesion(middle, (10, 9, 8))], GRID, shift, follow_up=True)
    centre = points_of(GRID)[whole(found)].mean(axis=0)
    np.testing.assert_allclose(centre, middle - [9.0, -6.0, 4.0], atol=0.8)


def test_an_implanted_lesion_has_its_uptake_inside_and_takes_the_place_of_what_was_there():
    middle = np.array(GRID.point([(n - 1) / 2 for n in GRID.size]))
    found = seen([lesion(middle, (18, 18, 18))], GRID, IDENTITY, follow_up=False)
    image, own = implant(np.full(GRID.shape, 2.0), found, GRID, mean=0.5)
    centre = tuple(n // 2 for n in GRID.shape)
    assert image[centre] == pytest.approx(6.0 * 0.5, rel=0.01)
    assert image[0, 0, 0] == pytest.approx(2.0)
    assert own.sum() == pytest.approx(3.0 * found[0].share.sum(), rel=1e-3)  # blur loses nothing
    assert image.min() > 1.99


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_voxels_hold_the_points_that_itk_finds_in_them(seed):
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=GRID.shape) < 0.5
    image = GRID.image(mask.astype(np.uint8))
    points = np.array([GRID.point(rng.uniform(-3, 36, 3)) for _ in range(60)])
    expected = []
    for point in points:
        index = image.TransformPhysicalPointToIndex(point)
        within = all(0 <= i < n for i, n in zip(index, GRID.size, strict=True))
        expected.append(within and bool(image[index]))
    np.testing.assert_array_equal(Voxels(mask, GRID).contains(points), expected)
