"""The overlay: what agrees is grey, what does not is green or magenta."""

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from mirrba import overlay as picture  # noqa: E402
from MIRRBARegistrationLib import MIRRBARegistrationLogic  # noqa: E402


def a_block(low, high) -> sitk.Image:
    """Uptake 5 between two indices along x (and the middle of y and z) in a body of uptake 1."""
    values = np.zeros((40, 40, 40), np.float32)
    values[5:35, 5:35, 5:35] = 0.5
    values[12:28, 12:28, low:high] = 5
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 4.0))
    return image


def colours(pixels) -> dict[str, int]:
    """How many pixels are clearly green, magenta, or bright grey."""
    red, green, blue = (pixels[..., k].astype(int) for k in range(3))
    return {
        "green": int((green > red + 80).sum()),
        "magenta": int(((red > green + 80) & (blue > green + 80)).sum()),
        "grey": int(((np.abs(red - green) < 30) & (np.abs(blue - green) < 30) & (green > 150)).sum()),
    }


def test_slicer_shows_agreement_grey_and_difference_coloured(headless, tmp_path):
    volumes = []
    for name, block in (("fixed", a_block(12, 20)), ("same", a_block(12, 20)), ("elsewhere", a_block(20, 28))):
        sitk.WriteImage(block, str(tmp_path / f"{name}.nrrd"))
        volumes.append(headless.loadVolume(tmp_path / f"{name}.nrrd", name))
    fixed, same, elsewhere = volumes
    logic = MIRRBARegistrationLogic()
    logic.showOverlay(fixed, same)
    seen = colours(headless.sliceImage("Green", 300, 300))
    assert seen["grey"] > 1000
    assert seen["green"] == seen["magenta"] == 0
    logic.showOverlay(fixed, elsewhere)
    seen = colours(headless.sliceImage("Green", 300, 300))
    assert seen["green"] > 1000
    assert seen["magenta"] > 1000


def test_the_png_overlay_has_before_coloured_and_after_grey():
    fixed, moving = a_block(12, 20), a_block(20, 28)
    joined = picture.overlay(fixed, moving, fixed)
    width = (joined.shape[1] - 3 * picture.GAP) // 4
    before, after = joined[:, :width], joined[:, width + picture.GAP : 2 * width + picture.GAP]
    assert colours(before)["green"] > 500
    assert colours(before)["magenta"] > 500
    assert colours(after)["green"] == colours(after)["magenta"] == 0
    assert colours(after)["grey"] > 500


def test_the_png_overlay_has_the_head_up():
    values = np.zeros((40, 20, 20), np.float32)
    values[:30, 5:15, 5:15] = 1
    values[30:34, 5:15, 5:15] = 20  # superior
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 4.0))
    for shown in (image, sitk.Flip(image, [False, False, True])):
        rows = picture.overlay(shown, shown, shown)[:, :50].sum(axis=(1, 2))
        assert np.argmax(rows) < len(rows) / 2
