"""The overlay, drawn by Slicer's own slice logic, and the scene bundle that carries it; the engine's own picture."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from mirrba import overlay as picture
from MIRRBARegistrationLib import MIRRBARegistrationLogic, nodes, overlay

WIDTH, HEIGHT = 120, 160


def volume(application, tmp_path, name, *blocks, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """Uniform uptake of 4 in these blocks of z slices, over the middle of the plane; 0 elsewhere."""
    array = np.zeros((40, 20, 30), np.float32)
    for first, last in blocks:
        array[first:last, 4:16, 6:24] = 4
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3, 3, 3))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
    return application.loadVolume(tmp_path / f"{name}.nrrd", name)


def middleColumn(application, view="Green") -> np.ndarray:
    """Colours from head to feet along the middle of a view."""
    return application.sliceImage(view, WIDTH, HEIGHT)[:, WIDTH // 2].astype(int)


def assertColour(column, slice_, colour) -> None:
    """The colour of an axial slice of the volume in such a column: 40 slices fill the height, the last on top.

    Slicer's blending rounds to one step of 255.
    """
    np.testing.assert_allclose(column[round((39.5 - slice_) / 40 * HEIGHT)], colour, atol=1)


@pytest.mark.parametrize("view", ["Green", "Yellow"])
def test_agreement_is_grey_and_the_rest_is_green_or_magenta(application, tmp_path, view):
    fixed = volume(application, tmp_path, "fixed", (4, 12), (16, 24))
    moving = volume(application, tmp_path, "moving", (16, 24), (28, 36))
    MIRRBARegistrationLogic().showOverlay(fixed, moving)
    column = middleColumn(application, view)
    assertColour(column, 8, (0, 255, 0))
    assertColour(column, 20, (255, 255, 255))
    assertColour(column, 32, (255, 0, 255))
    assertColour(column, 14, (0, 0, 0))


def test_equal_images_are_grey_everywhere(application, tmp_path):
    rng = np.random.default_rng(0)
    fixed, moving = (volume(application, tmp_path, name, (4, 36)) for name in ("fixed", "moving"))
    uptake = rng.gamma(2, 2, slicer.util.arrayFromVolume(fixed).shape)
    for node in (fixed, moving):
        slicer.util.arrayFromVolume(node)[:] *= uptake
        slicer.util.arrayFromVolumeModified(node)
    MIRRBARegistrationLogic().showOverlay(fixed, moving)
    pixels = application.sliceImage("Green", WIDTH, HEIGHT).astype(int)
    assert np.ptp(pixels, axis=2).max() <= 1
    assert len(np.unique(pixels)) > 50


def test_the_overlay_shows_in_all_views_linked(application, tmp_path):
    fixed, moving = (volume(application, tmp_path, name, (4, 36)) for name in ("fixed", "moving"))
    MIRRBARegistrationLogic().showOverlay(fixed, moving)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(composites) == 3
    for composite in composites:
        assert composite.GetBackgroundVolumeID() == fixed.GetID()
        assert composite.GetForegroundVolumeID() == moving.GetID()
        assert composite.GetLinkedControl()


def test_after_follows_before_by_another_foreground(application, tmp_path):
    fixed = volume(application, tmp_path, "fixed", (4, 20))
    moving = volume(application, tmp_path, "moving", (20, 36))
    warped = volume(application, tmp_path, "warped", (4, 20))
    logic = MIRRBARegistrationLogic()
    logic.showOverlay(fixed, moving)
    assertColour(middleColumn(application), 30, (255, 0, 255))
    logic.showOverlay(fixed, warped)
    column = middleColumn(application)
    assertColour(column, 10, (255, 255, 255))
    assertColour(column, 30, (0, 0, 0))


def test_the_window_fits_the_tissue_in_any_unit_and_ignores_hot_spots(application, tmp_path):
    node = volume(application, tmp_path, "PET", (4, 36))
    uptake = slicer.util.arrayFromVolume(node)
    uptake *= np.random.default_rng(0).uniform(0.5, 1, uptake.shape)
    quiet = overlay.petWindow(node)
    uptake[10:12, 8:12, 10:14] = 60  # a bladder
    assert overlay.petWindow(node) == pytest.approx(quiet, rel=0.1)
    assert quiet[0] == 0
    assert 3.5 < quiet[1] <= 4
    uptake *= 5000
    assert overlay.petWindow(node) == pytest.approx([5000 * bound for bound in quiet], rel=0.1)


def test_an_image_without_uptake_is_shown_black(application, tmp_path):
    fixed, moving = (volume(application, tmp_path, name) for name in ("fixed", "moving"))
    MIRRBARegistrationLogic().showOverlay(fixed, moving)
    assert application.sliceImage("Green", WIDTH, HEIGHT).max() == 0


def test_a_saved_scene_brings_overlay_and_results_back(application, tmp_path):
    fixed = volume(application, tmp_path, "fixed", (4, 12), (16, 24))
    moving = volume(application, tmp_path, "moving", (16, 24), (28, 36))
    grid = np.zeros((40, 20, 30, 3))
    grid[..., 2] = 36.0
    field = sitk.GetImageFromArray(grid, isVector=True)
    field.SetSpacing((3, 3, 3))
    affine = sitk.AffineTransform(3)
    affine.Translate((1.5, 0, 0))
    sitk.WriteTransform(
        sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)]), str(tmp_path / "transform.h5")
    )
    nodes.placeTransform(nodes.readTransform(tmp_path / "transform.h5"), None, fixed, moving)
    MIRRBARegistrationLogic().showOverlay(fixed, moving)
    before = application.sliceImage("Green", WIDTH, HEIGHT)
    application.writeBundle(tmp_path / "scene.mrb")

    application.scene.Clear(False)
    application.readBundle(tmp_path / "scene.mrb")

    np.testing.assert_array_equal(application.sliceImage("Green", WIDTH, HEIGHT), before)
    transform = slicer.util.getNode("moving to fixed transform")
    assert transform.GetTransformFromParent().TransformPoint((-30, -30, 30)) == pytest.approx((-31.5, -30, 66))
    assert transform.GetNodeReference("spatialRegistrationMoving") is slicer.util.getNode("moving")
    voxels = slicer.util.arrayFromVolume(slicer.util.getNode("fixed"))
    assert voxels[8, 10, 15] == 4


# The engine's own picture, overlay.png


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
