"""A real PET warped by a known field: real texture with an exact truth.

Set MIRRBA_REAL_PET to a whole-body PET file to run it, and MIRRBA_REAL_PET_PRESET to try another preset than default.
`mirrba benchmark --pet FILE` compares the peers on such pairs.
"""

import os

import pytest
import SimpleITK as sitk
from mirrba import metrics, register
from mirrba.geometry import Geometry
from mirrba.images import body_mask, read_volume
from mirrba.phantom.warped import warped_pair
from mirrba.presets import resolve

REAL_PET = os.environ.get("MIRRBA_REAL_PET")
PRESET = os.environ.get("MIRRBA_REAL_PET_PRESET", "default")


@pytest.mark.slow
@pytest.mark.skipif(REAL_PET is None, reason="MIRRBA_REAL_PET does not name a PET file")
def test_a_real_pet_is_brought_back_onto_its_warped_copy():
    pair = warped_pair(read_volume(REAL_PET), seed=0)
    grid = Geometry.from_image(pair.fixed)
    assert metrics.jacobian_determinant(pair.truth, grid).min() > 0.2
    registration = register(pair.fixed, pair.moving, resolve(PRESET))
    body = sitk.GetArrayFromImage(body_mask(pair.fixed)) > 0
    before = metrics.transform_error_mm(sitk.Transform(3, sitk.sitkIdentity), pair.truth, body, grid)
    after = metrics.transform_error_mm(registration.transform, pair.truth, body, grid)
    jacobian = registration.jacobian()
    print(f"\nTRE over the body: {before:.2f} mm before, {after:.2f} mm after; smallest det J {jacobian.min():.3f};")
    print(f"{registration.provenance['seconds']:.0f} s; {registration.provenance['plan']}")
    assert before > 10
    assert after < 3
    assert jacobian.min() > 0
