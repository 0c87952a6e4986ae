"""The Triton kernels on fields: on a GPU compiled (`make gpu`), else by Triton's own interpreter on the CPU."""

from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import direct, fields, kernels, losses

if find_spec("triton") is None:
    pytest.skip("Triton is not installed: it comes with PyTorch for CUDA on Linux", allow_module_level=True)
from mirrba import fused_fields, fused_gradients

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = st.tuples(*[st.integers(2, 9)] * 3)
SEEDS = st.integers(0, 99)
few = settings(max_examples=12, deadline=None)


def made(*shape: int, seed: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def agree(ours, plain, *inputs: torch.Tensor) -> None:
    """Value and gradients by all inputs are those of the plain way in float64 on the CPU."""
    wanted = [tensor.double().requires_grad_(True) for tensor in inputs]
    found = [tensor.to(DEVICE).requires_grad_(True) for tensor in inputs]
    expected, value = plain(*wanted), ours(*found)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected_gradients = torch.autograd.grad((weight * expected).sum(), wanted)
    gradients = torch.autograd.grad((weight.to(value) * value).sum(), found)
    for a, b in zip((value, *gradients), (expected, *expected_gradients), strict=True):
        assert (a.detach().cpu().double() - b).abs().max() <= 1e-4 * float(b.abs().max()) + 1e-5


# Displacements that leave the volume, too. Seeds are of fields on which no point lies on a voxel's centre, where the
# interpolation has a corner and two gradients are right.
@few
@given(shape=SHAPES, other=SHAPES, channels=st.sampled_from([1, 3]), seed=SEEDS)
def test_warping_is_that_of_float64_on_any_two_grids(shape, other, channels, seed):
    image, displacement = made(channels, *other, seed=seed), made(3, *shape, seed=seed + 100, size=0.4)
    agree(fused_gradients.warp, fields.warp, image, displacement)
    with_gradient = fused_gradients.warp(image.to(DEVICE), displacement.to(DEVICE))
    assert torch.equal(fused_fields.warp(image.to(DEVICE), displacement.to(DEVICE)), with_gradient)


@few
@given(shape=SHAPES, seed=SEEDS)
def test_composition_is_that_of_float64(shape, seed):
    outer, inner = made(3, *shape, seed=seed), made(3, *shape, seed=seed + 100, size=0.4)
    agree(fused_gradients.compose, fields.compose, outer, inner)
    with_gradient = fused_gradients.compose(outer.to(DEVICE), inner.to(DEVICE))
    assert torch.equal(fused_fields.compose(outer.to(DEVICE), inner.to(DEVICE)), with_gradient)


@few
@given(shape=SHAPES, seed=SEEDS)
def test_a_field_composed_with_itself_gets_both_gradients(shape, seed):
    def twice(compose):
        return lambda field: compose(field, field)

    agree(twice(fused_gradients.compose), twice(fields.compose), made(3, *shape, seed=seed, size=0.3))


@few
@given(shape=SHAPES, seed=SEEDS)
def test_the_terms_on_the_field_are_those_of_float64(shape, seed):
    field = made(3, *shape, seed=seed, size=0.3)  # large enough to fold
    agree(fused_gradients.smoothness, losses.smoothness, field)
    agree(fused_gradients.folding, losses.folding, field)


def test_the_fields_of_these_tests_fold():
    assert losses.folding(made(3, 6, 7, 5, seed=0, size=0.3)) > 0.1


@few
@given(shape=SHAPES, sigma=st.sampled_from([0.35, 1.0, 1.73, 3.0]), seed=SEEDS, channels=st.sampled_from([1, 3]))
def test_smoothing_is_that_of_float64(shape, sigma, seed, channels):
    field = made(channels, *shape, seed=seed)
    expected = direct.smooth(field.double(), sigma)
    torch.testing.assert_close(
        fused_fields.smooth(field.to(DEVICE), sigma).cpu().double(), expected, rtol=1e-4, atol=1e-5
    )


def test_layouts_that_are_not_contiguous_are_read_rightly():
    field = made(3, 5, 6, 7, seed=0, size=0.3)
    turned = field.transpose(2, 4).to(DEVICE)
    whole = turned.contiguous()
    found, wanted = (all_of(field.requires_grad_(True)) for field in (turned, whole))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def all_of(field: torch.Tensor) -> list[torch.Tensor]:
    """What the kernels make of it, and the gradient."""
    values = [fused_gradients.compose(field, field), fused_gradients.smoothness(field), fused_gradients.folding(field)]
    (gradient,) = torch.autograd.grad(torch.stack([value.square().sum() for value in values]).sum(), field)
    return [*values, gradient, fused_fields.smooth(field.detach(), 1.0)]


def test_what_is_not_a_number_stays_so():
    """Else a field that has left the numbers would look like a good one."""
    field = made(3, 5, 5, 5, seed=0, size=0.1)
    field[0, 1, 2, 2, 2] = torch.nan
    field = field.to(DEVICE)
    assert fused_gradients.warp(field[:, :1].nan_to_num(), field).isnan().any()
    for found in (
        fused_gradients.compose(field, field),
        fused_gradients.smoothness(field),
        fused_gradients.folding(field),
    ):
        assert found.isnan().any()


@pytest.mark.parametrize("module", [fused_fields, fused_gradients])
def test_the_kernels_pass_the_check_that_decides_whether_they_are_used(module):
    assert kernels.agree(module, DEVICE)


def test_kernels_that_are_wrong_are_not_used(monkeypatch):
    monkeypatch.setattr(fused_fields, "smooth", lambda field, sigma: direct.smooth(field, 1.01 * sigma))
    monkeypatch.setattr(fused_gradients, "smoothness", lambda velocity: 1.01 * losses.smoothness(velocity))
    assert not kernels.agree(fused_fields, DEVICE)
    assert not kernels.agree(fused_gradients, DEVICE)


@pytest.mark.parametrize(("pulled", "module"), [(False, "fused_fields"), (True, "fused_gradients")])
def test_who_needs_no_gradient_waits_for_no_gradients_kernels(monkeypatch, pulled, module):
    asked = []
    monkeypatch.setattr(kernels, "working", lambda name, device: asked.append(name))
    field = made(3, 4, 5, 6, seed=0).requires_grad_(pulled)
    fields.warp(field, field)
    fields.compose(field, field)
    assert set(asked) == {module}
    with torch.no_grad():
        fields.warp(field, field)
    assert asked[-1] == "fused_fields"
