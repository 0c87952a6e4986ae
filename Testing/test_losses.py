"""The losses against float64 references, finite differences and known values."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import fields, losses

SIDES = st.tuples(*[st.integers(1, 11)] * 3)


def reference_lncc(fixed, warped, window, weight):
    """The textbook formula: window sums by convolution, in float64."""
    kernel = torch.ones(1, 1, window, window, window, dtype=torch.float64)

    def total(image):
        return F.conv3d(image, kernel, padding=window // 2)

    n = window**3
    fixed, warped = fixed.double(), warped.double()
    cross = total(fixed * warped) - total(fixed) * total(warped) / n
    var_fixed = total(fixed * fixed) - total(fixed) ** 2 / n
    var_warped = total(warped * warped) - total(warped) ** 2 / n
    weight = weight.double() / weight.double().sum()
    return -(weight * cross**2 / (var_fixed * var_warped + losses.EPSILON)).sum()


@settings(max_examples=40, deadline=None)
@given(shape=SIDES, window=st.sampled_from([3, 5, 7]), seed=st.integers(0, 1000))
def test_the_box_sum_is_a_convolution_with_ones(shape, window, seed):
    image = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(seed))
    kernel = torch.ones(2, 1, window, window, window, dtype=torch.float64)
    expected = F.conv3d(image.double(), kernel, padding=window // 2, groups=2)
    assert torch.allclose(losses.box_sum(image, window).double(), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(shape=SIDES, window=st.sampled_from([3, 5, 7]), seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 1.0]))
def test_lncc_agrees_with_its_float64_reference_in_value_and_gradient(shape, window, seed, offset):
    generator = torch.Generator().manual_seed(seed)
    fixed, warped, weight = (torch.rand(1, 1, *shape, generator=generator) for _ in range(3))
    fixed, warped = fixed + offset, (warped + offset).requires_grad_()
    value = losses.LocalNCC(fixed, window, weight)(warped)
    (gradient,) = torch.autograd.grad(value, warped)
    expected = reference_lncc(fixed, warped, window, weight)
    (expected_gradient,) = torch.autograd.grad(expected, warped)
    assert value.item() == pytest.approx(expected.item(), abs=2e-4)
    assert (gradient - expected_gradient).abs().max() < 2e-3 * max(1.0, float(expected_gradient.abs().max()))


def test_the_gradient_of_lncc_passes_gradcheck():
    fixed, warped = (torch.rand(1, 1, 6, 7, 5, dtype=torch.double) for _ in range(2))
    assert torch.autograd.gradcheck(losses.LocalNCC(fixed, 3), (warped.requires_grad_(),))


def test_lncc_is_minus_one_for_equal_and_for_linearly_related_images():
    image = torch.rand(1, 1, 12, 12, 12)
    inner = torch.zeros_like(image)
    inner[..., 2:-2, 2:-2, 2:-2] = 1  # at the border zeros are mixed in
    ncc = losses.LocalNCC(image, 3, inner)
    assert ncc(image).item() == pytest.approx(-1, abs=1e-3)
    assert ncc(0.5 - 0.4 * image).item() == pytest.approx(-1, abs=1e-3)


def test_lncc_ignores_what_lies_where_the_weight_is_zero():
    fixed, warped = torch.rand(1, 1, 16, 8, 8), torch.rand(1, 1, 16, 8, 8)
    weight = torch.zeros_like(fixed)
    weight[:, :, :6] = 1
    changed = warped.clone()
    changed[:, :, 9:] += 5
    ncc = losses.LocalNCC(fixed, 3, weight)
    assert ncc(changed).item() == pytest.approx(ncc(warped).item(), abs=1e-6)


@pytest.mark.parametrize(("level", "optimum"), [(1, -1.0), (2, -1.5), (3, -1.75), (4, -1.875)])
def test_the_multi_resolution_optimum_is_that_of_its_weights(level, optimum):
    image = fields.resize(torch.rand(1, 1, 24, 24, 24), (48, 48, 48))
    ncc = losses.MultiResolutionNCC(image, level, torch.ones_like(image))
    assert [term.window for _, term in ncc.terms] == [2 * k + 1 for k in range(level, 0, -1)]
    assert ncc(image).item() == pytest.approx(optimum, abs=0.03)


def test_smoothness_is_the_hand_computed_value_of_a_linear_velocity():
    shape = (8, 8, 8)
    velocity = 0.25 * fields.unit_grid(shape, torch.device("cpu"))
    # The gradient is 0.25 voxel per voxel, doubled; one of three components changes along each axis.
    assert losses.smoothness(velocity).item() == pytest.approx((2 * 0.25) ** 2 / 3, rel=1e-4)
    assert losses.smoothness(torch.ones(1, 3, *shape)).item() == 0


def test_folding_is_zero_for_the_identity_and_one_for_a_mirroring():
    grid = fields.unit_grid((8, 8, 8), torch.device("cpu"))
    assert losses.folding(torch.zeros_like(grid)).item() == 0
    mirrored = torch.tensor([-2.0, 0, 0]).view(1, 3, 1, 1, 1) * grid
    assert losses.folding(mirrored).item() == pytest.approx(1, abs=1e-5)
