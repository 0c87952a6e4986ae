"""Products with banded matrices, against the same products written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrba import bands, devices, losses

LONG = bands.BLOCK + 9  # more than one block


@settings(max_examples=40, deadline=None)
@given(
    shape=st.permutations([LONG, 5, 3]) | st.tuples(*[st.integers(1, 7)] * 3),
    channels=st.integers(1, 3),
    reach=st.integers(0, 2 * LONG),
    is_view=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_axis_is_multiplied_with_its_matrix(shape, channels, reach, is_view, seed):
    generator = torch.Generator().manual_seed(seed)
    volume = torch.rand(1, channels, *shape, generator=generator)
    if is_view:
        volume = volume.transpose(2, 4).contiguous().transpose(2, 4)
    matrices = [
        torch.rand(size, size, generator=generator) * (bands.distances(size, volume) <= reach) for size in shape
    ]
    expected = torch.einsum("az,by,cx,nkzyx->nkabc", *[m.double() for m in matrices], volume.double())
    torch.testing.assert_close(bands.along_axes(volume, matrices, reach).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("allowed", ["highest", "medium"])
def test_products_are_in_float32_whatever_the_process_allows(allowed):
    torch.set_float32_matmul_precision(allowed)
    try:
        with devices.current(torch.device("cpu")), torch.autocast("cpu", torch.bfloat16):
            assert torch.get_float32_matmul_precision() == "highest"
            found = losses.box_sum(torch.full((1, 1, 5, 5, 5), 1 + 2**-20), 3)
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.dtype == torch.float32
    assert found[0, 0, 2, 2, 2] == 27 * (1 + 2**-20)
