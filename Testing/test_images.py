"""Volumes: what is refused, how intensities are normalised, where the working grid lies."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrba import images
from mirrba.errors import InputError
from mirrba.geometry import Geometry

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def a_body(size=(40, 30, 60), spacing=(6.0, 6.0, 6.0), scale=1.0, seed=0) -> sitk.Image:
    """An ellipsoid of uptake about 1 with a hot and a warm spot, in noisy air."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in size[::-1])
    radius = np.sqrt((z[:, None, None] / 0.8) ** 2 + (y[None, :, None] / 0.7) ** 2 + (x[None, None, :] / 0.7) ** 2)
    values = np.where(radius < 1, 1.0, 0.0) + rng.normal(0, 0.01, radius.shape)
    values[radius < 0.2] += 8
    image = sitk.GetImageFromArray((scale * values).astype(np.float32))
    image.SetSpacing(spacing)
    return image


def written(tmp_path, image, name="image.nii.gz"):
    path = tmp_path / name
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (sitk.Image([20, 20], sitk.sitkFloat32), "has 2 dimensions"),
        (sitk.Image([10, 10, 10, 3], sitk.sitkFloat32), "has 4 dimensions"),
        (sitk.Image([10, 10, 10], sitk.sitkVectorFloat32, 3), "several values"),
        (sitk.Image([10, 10, 1], sitk.sitkFloat32), "at least 8"),
        (sitk.Image([10, 10, 10], sitk.sitkFloat32), "no uptake"),
        (sitk.Image([10, 10, 10], sitk.sitkFloat32) - 5, "no uptake"),
        (sitk.Image([10, 10, 10], sitk.sitkFloat32) + 5, "no uptake"),
    ],
)
def test_what_is_no_pet_volume_is_refused_by_name_with_a_remedy(tmp_path, image, sentence):
    path = written(tmp_path, image, "image.nrrd")
    with pytest.raises(InputError, match=sentence) as refusal:
        images.read_volume(path)
    assert str(path) in str(refusal.value)


def test_missing_folder_and_unreadable_files_are_refused(tmp_path):
    (tmp_path / "text.nii.gz").write_text("not an image")
    with pytest.raises(InputError, match="no such file"):
        images.read_volume(tmp_path / "missing.nii.gz")
    with pytest.raises(InputError, match="is a folder"):
        images.read_volume(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        images.read_volume(tmp_path / "text.nii.gz")


def test_voxels_that_are_not_finite_count_as_zero_and_are_told(caplog):
    image = a_body()
    image[0, 0, 0] = float("nan")
    image[1, 0, 0] = float("inf")
    checked = images.check_volume(image, "the fixed volume")
    assert (checked[0, 0, 0], checked[1, 0, 0]) == (0, 0)
    assert "2 voxels are not finite" in caplog.text


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scale=st.floats(1e-3, 1e6))
def test_suv_becquerel_and_counts_are_normalised_alike(scale):
    suv = sitk.GetArrayFromImage(a_body())
    expected = images.normalise(suv, images.body_mean(suv))
    scaled = (suv * np.float32(scale)).astype(np.float32)
    assert np.abs(images.normalise(scaled, images.body_mean(scaled)) - expected).max() < 1e-4


def test_normalised_intensities_lie_between_zero_and_one_and_rise_with_uptake():
    values = np.array([-3.0, 0.0, 1.0, 10.0, 50.0], np.float32)
    normal = images.normalise(values, 1.0)
    assert normal[0] == normal[1] == 0
    assert normal[2] == pytest.approx(np.sqrt(0.1))
    assert normal[3] == normal[4] == 1


@pytest.mark.parametrize("suv", [20, 300, 1e5])
def test_a_hot_organ_hardly_moves_the_bodys_mean(suv):
    plain = sitk.GetArrayFromImage(a_body())
    hot = plain.copy()
    body = np.argwhere((plain > 0.5) & (plain < 2))
    hot[tuple(body[: len(body) // 100].T)] = suv
    assert images.body_mean(hot) == pytest.approx(images.body_mean(plain), rel=0.15)


def test_the_body_mask_is_the_body():
    image = a_body()
    truth = sitk.GetArrayFromImage(image) > 0.5
    found = sitk.GetArrayFromImage(images.body_mask(image)) > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.9


def hot_spot(grid: Geometry, values: np.ndarray) -> np.ndarray:
    """The centre (LPS mm) of what is brighter than the body."""
    heat = np.clip(values - 0.45, 0, None)
    indices = np.indices(values.shape).reshape(3, -1)
    return np.array(grid.point((indices @ heat.ravel() / heat.sum())[::-1]))


@pytest.mark.parametrize("multiple", [2, 8, 16])
@pytest.mark.parametrize("spacing", [7.0, 9.3])
def test_the_working_grid_divides_holds_both_bodies_and_shows_them_where_they_are(multiple, spacing):
    fixed = images.Prepared.of(a_body(), "a")
    other = a_body()
    other.SetOrigin((18.0, -12.0, 24.0))
    moving = images.Prepared.of(other, "b")
    box = images.body_box(fixed, moving, IDENTITY)
    pair = images.working_pair(fixed, moving, IDENTITY, images.working_grid(box, spacing, multiple))
    assert all(n % multiple == 0 for n in pair.grid.size)
    for prepared, values in ((fixed, pair.fixed), (moving, pair.moving)):
        expected = hot_spot(Geometry.from_image(prepared.image), sitk.GetArrayFromImage(prepared.image))
        assert np.linalg.norm(hot_spot(pair.grid, values) - expected) < 0.1 * spacing


def scanned_by_half() -> tuple[images.WorkingPair, images.Prepared, float, np.ndarray]:
    """The pair, the half, the height of its last slice and of every slice of the grid, mm."""
    fixed = images.Prepared.of(a_body(), "a")
    half = a_body()[:, :, :30]
    moving = images.Prepared.of(half, "b")
    box = images.body_box(fixed, moving, IDENTITY)
    pair = images.working_pair(fixed, moving, IDENTITY, images.working_grid(box, 6.0, 8))
    heights = np.array([pair.grid.point((0, 0, k))[2] for k in range(pair.grid.size[2])])
    return pair, moving, half.TransformIndexToPhysicalPoint((0, 0, 29))[2], heights


def test_the_weight_is_zero_where_one_of_the_two_was_not_scanned():
    pair, _, top, heights = scanned_by_half()
    assert not pair.weight[heights > top].any()
    assert pair.weight[(heights > 30) & (heights < top - 20)].any()


def test_where_a_volume_was_not_scanned_it_goes_on_as_its_last_slice():
    """Air would make an edge of the end of a field of view, which is no anatomy."""
    pair, moving, top, heights = scanned_by_half()
    beyond = pair.moving[heights > top + 3]
    assert beyond.max() > 0.2
    plane = sitk.GetArrayFromImage(moving.image)[-1]
    assert np.isclose(beyond.max(), plane.max(), atol=0.02)
    assert np.array_equal(beyond, np.broadcast_to(beyond[:1], beyond.shape))


def test_volumes_far_apart_are_refused_with_the_remedy():
    other = a_body()
    other.SetOrigin((5000.0, 0.0, 0.0))
    with pytest.raises(InputError, match="do not overlap in space; start with init=centre"):
        images.body_box(images.Prepared.of(a_body(), "a"), images.Prepared.of(other, "b"), IDENTITY)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 8)] * 3),
    new=st.floats(0.7, 10),
    multiple=st.sampled_from([1, 2, 8, 16]),
)
def test_resampled_and_padded_grids_cover_the_old_one(size, spacing, new, multiple):
    angle = 0.3
    turn = (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, -1)
    old = Geometry(size, spacing, (10.0, -20.0, 30.0), tuple(map(float, turn)))
    grid = old.resampled(new).padded_to(multiple)
    assert all(n % multiple == 0 for n in grid.size)
    back = np.linalg.inv(grid.matrix)
    for corner in ((-0.5, -0.5, -0.5), [n - 0.5 for n in size]):
        index = back @ (np.array(old.point(corner)) - grid.origin)
        assert (index > -0.5 - 1e-3).all()
        assert (index < np.array(grid.size) - 0.5 + 1e-3).all()


def test_a_grids_points_are_simpleitks():
    image = sitk.Image([5, 6, 7], sitk.sitkUInt8)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((4.0, 5.0, 6.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    grid = Geometry.from_image(image)
    assert grid.point((1, 2, 3)) == pytest.approx(image.TransformIndexToPhysicalPoint((1, 2, 3)))
    assert grid.shape == (7, 6, 5)
