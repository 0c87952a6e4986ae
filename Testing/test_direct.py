"""The descent without network: smoothing that follows the contrast, and the way down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import direct, fields, losses
from mirrba.finished import FinishedStages
from mirrba.progress import Progress
from scipy import ndimage

SHAPE = (24, 24, 24)
NOISE = 0.02  # standard deviation of the normalised intensities, as of a PET at 8 mm
COUNTS = (20, 20)


def half_noise(seed: int) -> torch.Tensor:
    """A pattern in the lower half of x, the same whatever the seed; noise of its own everywhere."""
    z, y, x = torch.meshgrid(*[torch.arange(float(n)) for n in SHAPE], indexing="ij")
    pattern = 0.3 * torch.sin(0.9 * x) * torch.sin(0.8 * y) * torch.sin(0.7 * z) * (x < 12)
    noise = NOISE * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    return (0.4 + pattern + noise)[None, None]


def descended(fixed, moving, counts=COUNTS) -> torch.Tensor:
    progress = Progress(direct.stages("start", counts, SHAPE))
    still = fields.zeros(SHAPE, fixed.device)
    weight = torch.ones_like(fixed)
    return direct.descend("start", fixed, moving, weight, counts, 7, progress, FinishedStages(), still)


def roughness(displacement: torch.Tensor) -> torch.Tensor:
    return fields.jacobian_determinant(fields.to_voxels(displacement))[0]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    sigma=st.floats(0.3, 2.0),
    offset=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_smoothing_is_scipy_s_gaussian_in_float64_renormalised_at_the_border(shape, sigma, offset, seed):
    field = offset + torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(seed))
    options = {"sigma": sigma, "mode": "constant", "radius": max(1, int(np.ceil(3 * sigma)))}
    mass = ndimage.gaussian_filter(np.ones(shape), **options)
    expected = [ndimage.gaussian_filter(part.astype(float), **options) / mass for part in field[0].numpy()]
    np.testing.assert_allclose(direct.smooth(field, sigma)[0].numpy(), np.stack(expected), rtol=2e-6, atol=1e-6)


def test_what_bends_evenly_passes_the_field_s_smoothing_and_what_a_plain_gaussian_takes_of_it_does_not():
    """x² loses σ² to a Gaussian at every place; ripples are smoothed by both."""
    x = torch.arange(40.0) - 20
    curve = (0.05 * x**2).expand(1, 1, 40, 40, 40)
    inside = (0, 0, 20, 20, slice(14, 26))  # the border's renormalised kernels do not reach there
    torch.testing.assert_close(direct.unbent(curve, 2.0)[inside], curve[inside], rtol=1e-3, atol=1e-3)
    assert (direct.smooth(curve, 2.0) - curve)[inside].min() > 0.15
    ripples = torch.cos(torch.pi * x).expand(1, 1, 40, 40, 40)
    assert direct.unbent(ripples, 2.0)[inside].abs().max() < 0.01


def test_contrast_is_none_where_the_images_may_not_be_compared():
    """A field of view that ends looks like an edge."""
    image = half_noise(0)
    image[..., :12, :, :] = 0
    weight = torch.ones_like(image)
    weight[..., :14, :, :] = 0
    found = direct.contrast(losses.LocalNCC(image, 7, weight), image)[0, 0]
    assert found[:14].max() == 0
    assert found[14:, 4:-4, 4:8].min() > 0.5


def test_contrast_is_none_where_both_images_are_flat_and_near_one_at_an_edge_of_either():
    flat = torch.full((1, 1, *SHAPE), 0.5)
    edge = flat.clone()
    edge[..., 12:] = 1.0
    inside = slice(4, -4)  # windows that reach beyond the face see the zero there
    assert direct.contrast(losses.LocalNCC(flat, 7), flat)[0, 0, inside, inside, inside].max() < 0.01
    for fixed, moving in ((edge, flat), (flat, edge), (edge, edge)):
        found = direct.contrast(losses.LocalNCC(fixed, 7), moving)[0, 0, 12, 12]
        assert found[12] > 0.98
        assert found[6] < 0.01


def test_what_vanished_shrinks_more_than_where_the_fixed_image_alone_is_asked(monkeypatch):
    z, y, x = torch.meshgrid(*[torch.arange(float(n)) - 12 for n in SHAPE], indexing="ij")
    lesion = 0.4 * torch.exp(-(x**2 + y**2 + z**2) / 12)
    fixed, moving = half_noise(0), half_noise(1) + lesion

    def left() -> float:
        """Of the lesion, where the field has brought it."""
        return float(fields.warp(lesion[None, None], descended(fixed, moving)).sum() / lesion.sum())

    either = left()
    contrast = direct.contrast
    monkeypatch.setattr(direct, "contrast", lambda similarity, warped: contrast(similarity, similarity.fixed))
    assert either < left() - 0.05


def test_noise_alone_deforms_less_than_where_there_is_anatomy_to_follow(monkeypatch):
    """The same pair with and without the smoothing that follows the contrast: NOISE = 0 takes all for contrast."""
    fixed, moving = half_noise(0), half_noise(1)
    followed = roughness(descended(fixed, moving))[..., 14:-2].std()
    monkeypatch.setattr(direct, "NOISE", 1e-12)
    everywhere = roughness(descended(fixed, moving))[..., 14:-2].std()
    assert followed < 0.75 * everywhere


def test_anatomy_is_followed_as_closely_as_without():
    fixed = half_noise(0)
    shifted = torch.roll(half_noise(1), 1, dims=3)  # one voxel along y
    found = fields.to_voxels(descended(fixed, shifted))[0, 1, 6:-6, 6:-6, 3:9]
    assert found.mean() == pytest.approx(1.0, abs=0.1)


def test_no_iterations_leave_the_displacement():
    field = torch.rand(1, 3, *SHAPE)
    weight = torch.ones(1, 1, *SHAPE)
    assert direct.descend("finish", weight, weight, weight, (), 7, Progress([]), FinishedStages(), field) is field


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), seed=st.integers(0, 99))
def test_the_image_s_gradient_is_exact_for_quartic_images_away_from_the_border(shape, seed):
    """Each axis its own polynomial of degree 4; float64, and float32 to its rounding."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    polynomials = [np.polynomial.Polynomial(rng.uniform(-1, 1, 5)) for _ in axes]
    image = torch.from_numpy(sum(p(axis) for p, axis in zip(polynomials, axes, strict=True)))[None, None]
    inside = [slice(2, -2)] * 3
    steps = [2 / max(n - 1, 1) for n in shape]
    for kind, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = direct.image_gradient(image.to(kind))[0].numpy()
        assert found.shape == (3, *shape)
        for axis in range(3):
            slope = polynomials[axis].deriv()(axes[axis]) * steps[axis]
            np.testing.assert_allclose(found[2 - axis][*inside], slope[*inside], atol=tolerance)


def test_at_the_border_the_image_goes_on_evenly():
    image = torch.arange(8.0).expand(1, 1, 1, 1, 8)
    found = direct.image_gradient(image)[0]
    assert found[1:].abs().max() == 0  # one voxel thick there
    torch.testing.assert_close(found[0, 0, 0, [0, 1]], torch.tensor([0.5, 13 / 12]))


def test_a_step_goes_downhill_where_the_field_already_turns():
    """From a field that turns by 180° about z, to the turned image shifted by a voxel along x.

    Seen from the moving image, the shift is to the other side: steps along its axes would lead away.
    """
    fixed = half_noise(0)
    shifted = torch.roll(half_noise(1), 1, dims=4)
    grid = fields.unit_grid(SHAPE, fixed.device)
    turn = torch.stack([-grid[:, 0], -grid[:, 1], grid[:, 2]], dim=1) - grid
    turned = shifted.flip(3, 4)
    torch.testing.assert_close(fields.warp(turned, turn), shifted, atol=1e-5, rtol=0)
    progress = Progress(direct.stages("start", COUNTS, SHAPE))
    weight = torch.ones_like(fixed)
    found = direct.descend("start", fixed, turned, weight, COUNTS, 7, progress, FinishedStages(), turn)
    here = (0, 0, slice(6, -6), slice(6, -6), slice(3, 9))
    assert fields.to_voxels(found - turn)[here].mean() == pytest.approx(-1.0, abs=0.15)
