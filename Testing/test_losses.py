"""The losses against float64 references, finite differences and known values."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import fields, losses

SIDES = st.tuples(*[st.integers(1, 11)] * 3)


def reference_correlation(fixed, warped, window):
    """ρ² by the textbook formula: window sums by convolution, in float64."""
    kernel = torch.ones(1, 1, window, window, window, dtype=torch.float64)

    def total(image):
        return F.conv3d(image, kernel, padding=window // 2)

    n = window**3
    fixed, warped = fixed.double(), warped.double()
    cross = total(fixed * warped) - total(fixed) * total(warped) / n
    var_fixed = total(fixed * fixed) - total(fixed) ** 2 / n
    var_warped = total(warped * warped) - total(warped) ** 2 / n
    return cross**2 / (var_fixed * var_warped + losses.EPSILON)


def reference_lncc(fixed, warped, window, weight):
    return -(weight.double() * reference_correlation(fixed, warped, window)).sum() / weight.double().sum()


def reference_information(fixed, warped, window, weight):
    terms = (1 - reference_correlation(fixed, warped, window) + losses.SLACK).log() / 2
    return (weight.double() * terms).sum() / weight.double().sum()


KINDS = [(losses.LocalNCC, reference_lncc), (losses.LocalInformation, reference_information)]


@settings(max_examples=40, deadline=None)
@given(shape=SIDES, window=st.sampled_from([3, 5, 7]), seed=st.integers(0, 1000))
def test_the_box_sum_is_a_convolution_with_ones(shape, window, seed):
    image = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(seed))
    kernel = torch.ones(2, 1, window, window, window, dtype=torch.float64)
    expected = F.conv3d(image.double(), kernel, padding=window // 2, groups=2)
    assert torch.allclose(losses.box_sum(image, window).double(), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shape=SIDES,
    window=st.sampled_from([3, 5, 7]),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 1.0]),
)
def test_the_similarities_agree_with_float64_in_value_and_gradient(kind, shape, window, seed, offset):
    similarity, reference = kind
    generator = torch.Generator().manual_seed(seed)
    fixed, warped, weight = (torch.rand(1, 1, *shape, generator=generator) for _ in range(3))
    fixed, warped = fixed + offset, (warped + offset).requires_grad_()
    value = similarity(fixed, window, weight)(warped)
    (gradient,) = torch.autograd.grad(value, warped)
    expected = reference(fixed, warped, window, weight)
    (expected_gradient,) = torch.autograd.grad(expected, warped)
    assert value.item() == pytest.approx(expected.item(), abs=2e-4)
    assert (gradient - expected_gradient).abs().max() < 2e-3 * max(1.0, float(expected_gradient.abs().max()))


@pytest.mark.parametrize("similarity", [losses.LocalNCC, losses.LocalInformation])
def test_the_gradient_passes_gradcheck(similarity):
    fixed, warped = (torch.rand(1, 1, 6, 7, 5, dtype=torch.double) for _ in range(2))
    assert torch.autograd.gradcheck(similarity(fixed, 3), (warped.requires_grad_(),))


def test_the_information_of_a_pair_is_that_of_its_correlation():
    """Of two Gaussians with correlation ρ: -½ log(1 - ρ²), but for the slack and the windows' scatter."""
    fixed, other = torch.randn(2, 1, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    inner = torch.zeros_like(fixed)
    inner[..., 4:-4, 4:-4, 4:-4] = 1
    for rho in (0.3, 0.8):
        warped = rho * fixed + math.sqrt(1 - rho**2) * other
        found = losses.LocalInformation(fixed, 9, inner)(warped).item()
        assert found == pytest.approx(0.5 * math.log(1 - rho**2 + losses.SLACK), abs=0.01)


def test_near_a_match_the_information_pulls_on_where_lncc_has_levelled_off():
    """Relative to a window that matches badly, one that nearly matches counts more."""
    generator = torch.Generator().manual_seed(0)
    fixed, noise = torch.rand(2, 1, 1, 9, 9, 18, generator=generator)
    spoiled = fixed + torch.where(torch.arange(18) < 9, 0.1, 2.0) * noise

    def near_to_far(similarity):
        point = spoiled.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(similarity(fixed, 3)(point), point)
        return (gradient[..., :8].norm() / gradient[..., 10:].norm()).item()

    assert near_to_far(losses.LocalInformation) > 3 * near_to_far(losses.LocalNCC)


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
