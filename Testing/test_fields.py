"""Fields against SimpleITK's resampling, analytic maps and invariants."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import fields

SHAPE = (12, 16, 20)


def a_smooth_field(seed: int, size: float, shape=SHAPE) -> torch.Tensor:
    """A smooth velocity of up to about `size` in unit coordinates, zero at the faces."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.zeros(1, 3, 6, 6, 6)
    coarse[:, :, 2:-2, 2:-2, 2:-2] = size * (2 * torch.rand(1, 3, 2, 2, 2, generator=generator) - 1)
    return fields.resize(coarse, shape)


def points_of(shape) -> torch.Tensor:
    return fields.unit_grid(shape, torch.device("cpu"))


def test_a_zero_field_changes_nothing():
    image = torch.rand(1, 2, *SHAPE)
    assert torch.allclose(fields.warp(image, fields.zeros(SHAPE, image.device)), image, atol=1e-6)


def test_warping_agrees_with_simpleitk():
    image = torch.rand(1, 1, *SHAPE)
    displacement = a_smooth_field(1, 0.15)
    ours = fields.warp(image, displacement)[0, 0].numpy()
    voxels = fields.to_voxels(displacement)[0].permute(1, 2, 3, 0).double().numpy()
    transform = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(voxels, isVector=True))
    theirs = sitk.GetArrayFromImage(sitk.Resample(sitk.GetImageFromArray(image[0, 0].numpy()), transform))
    inner = (slice(3, -3),) * 3  # at the border ITK fills with zero, we with the border
    assert np.abs(ours[inner] - theirs[inner]).max() < 1e-4


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 4, 5), (7, 6, 5), (12, 3, 4)])
def test_however_many_threads_warping_and_its_gradients_are_those_of_grid_sample(threads, shape):
    image, displacement = torch.rand(1, 3, 6, 5, 4).requires_grad_(True), a_smooth_field(2, 0.4, shape)
    displacement.requires_grad_(True)
    grid = (points_of(shape) + displacement).permute(0, 2, 3, 4, 1)
    expected = torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    found = fields.warp(image, displacement)
    assert torch.equal(found, expected)
    weight = torch.rand_like(expected)
    gradients = [torch.autograd.grad((weight * value).sum(), (image, displacement)) for value in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_inversion_takes_any_number_of_points(threads):
    displacement = a_smooth_field(3, 0.1, (7, 5, 3))
    back = fields.compose(displacement, fields.invert(displacement))
    assert fields.to_voxels(back).norm(dim=1).max() < 0.05


@pytest.mark.parametrize("steps", [5, 7])
def test_integrating_a_linear_velocity_gives_the_matrix_exponential(steps):
    matrix = torch.tensor([[0.1, 0.05, 0.0], [-0.05, -0.1, 0.02], [0.0, 0.03, 0.05]])
    points = points_of((24, 24, 24))
    velocity = torch.einsum("ij,bjzyx->bizyx", matrix, points)
    expected = torch.einsum("ij,bjzyx->bizyx", torch.matrix_exp(matrix) - torch.eye(3), points)
    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))  # the border padding is not linear
    assert torch.allclose(fields.integrate(velocity, steps)[inner], expected[inner], atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 0.15))  # up to 1.2 voxels over 2.7
def test_integration_does_not_fold_and_its_negative_undoes_it(seed, size):
    velocity = a_smooth_field(seed, size, (16, 16, 16))
    forward, backward = fields.integrate(velocity), fields.integrate(-velocity)
    assert fields.jacobian_determinant(fields.to_voxels(forward)).min() > 0
    left = fields.to_voxels(fields.compose(backward, forward))
    assert left.norm(dim=1).max() < 0.35


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 0.2))
def test_a_field_and_its_inverse_compose_to_the_identity(seed, size):
    forward = fields.integrate(a_smooth_field(seed, size, (20, 20, 20)))
    inverse = fields.invert(forward)
    assert fields.to_voxels(fields.compose(forward, inverse)).norm(dim=1).max() < 0.01


def test_a_strong_stretch_is_inverted():
    # A filling bladder: the volume grows sevenfold at the centre, where fixed-point iteration diverges.
    points = points_of((32, 32, 32))
    velocity = 0.8 * points * torch.exp(-((points.norm(dim=1, keepdim=True) / 0.25) ** 2))
    stretch = fields.integrate(velocity)
    assert fields.jacobian_determinant(fields.to_voxels(stretch)).max() > 7
    inverse = fields.invert(stretch)
    assert fields.to_voxels(fields.compose(stretch, inverse)).norm(dim=1).max() < 0.01


def test_a_stretch_that_fixed_point_steps_lead_away_from_is_inverted():
    inverse = fields.invert(2 * points_of((32, 32, 32)))  # p to 3 p
    assert torch.allclose(inverse, -2 / 3 * points_of((32, 32, 32)), atol=1e-4)


@given(scale=st.tuples(*[st.floats(-0.4, 0.6)] * 3))
@settings(max_examples=20, deadline=None)
def test_the_jacobian_of_a_scaling_is_its_volume_factor(scale):
    factors = torch.tensor(scale).view(1, 3, 1, 1, 1)
    displacement = fields.to_voxels(factors * points_of(SHAPE))
    expected = float(torch.prod(1 + factors))
    assert torch.allclose(fields.jacobian_determinant(displacement), torch.tensor(expected), atol=1e-4)


def test_a_mirroring_has_a_negative_jacobian():
    displacement = fields.to_voxels(torch.tensor([-2.0, 0, 0]).view(1, 3, 1, 1, 1) * points_of(SHAPE))
    assert fields.jacobian_determinant(displacement).max() < 0


def test_composition_applies_the_inner_map_first():
    points = points_of((20, 20, 20))
    shift = torch.zeros_like(points)
    shift[:, 0] = 0.2
    double = 0.5 * points  # p → 1.5 p
    inner = (..., slice(8, 12), slice(8, 12), slice(8, 12))
    expected = 1.5 * (points + shift) - points
    assert torch.allclose(fields.compose(double, shift)[inner], expected[inner], atol=1e-5)


def test_resizing_keeps_a_linear_field():
    field = 0.3 * points_of((8, 8, 8))
    finer = fields.resize(field, (16, 16, 16))
    inner = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert torch.allclose(finer[inner], 0.3 * points_of((16, 16, 16))[inner], atol=1e-6)


def test_voxels_and_unit_coordinates_convert_back():
    field = torch.rand(1, 3, *SHAPE)
    assert torch.allclose(fields.from_voxels(fields.to_voxels(field)), field)
    one_voxel = fields.from_voxels(torch.ones(1, 3, *SHAPE))
    assert torch.allclose(one_voxel[0, :, 0, 0, 0], torch.tensor([2 / 20, 2 / 16, 2 / 12]))
