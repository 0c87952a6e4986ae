"""The review of a result: views, layers, table, maps."""

import pytest
import slicer
import vtk
from panel_user import overlayLayers, shownVolumes


def looks(volumeNode) -> tuple:
    display = volumeNode.GetDisplayNode()
    window = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (display.GetColorNodeID(), display.GetAutoWindowLevel(), *window)


def test_a_scene_that_was_saved_in_review_gives_the_user_s_colours_back(user, tmp_path):
    pair = user.loadsAPair()
    display = pair.followUpVolume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(1, 7)
    user.registers()
    user.clicks(user.ui.beforeButton)
    user.widget.exit()
    before = [looks(pair.followUpVolume), looks(pair.baselineVolume)]
    assert before[0][2:] == (1, 7)
    user.widget.enter()
    assert looks(pair.followUpVolume)[0] == "vtkMRMLColorTableNodeGreen"
    user.application.headless.writeBundle(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear()
    user.application.processEvents(50)
    user.application.headless.readBundle(tmp_path / "scene.mrb")
    user.application.processEvents(50)
    follow, baseline = slicer.util.getNode("Follow-up PET"), slicer.util.getNode("Baseline PET")
    assert looks(follow)[0] == "vtkMRMLColorTableNodeGreen"
    user.widget.exit()
    assert [looks(follow), looks(baseline)] == before


def a_segment(name, centre=None, **scores) -> dict:
    """A row as the engine writes it."""
    return {"name": name, "fate": "matched", "role": "lesion", "centre_fixed_lps": centre, **scores}


AFTER = [
    ("Follow-up PET", None),
    ("Baseline PET to Follow-up PET", None),
    ("Follow-up PET", "Baseline PET to Follow-up PET"),
]


def test_a_scene_opened_on_top_of_a_reviewed_one_is_shown(reviewer, tmp_path):
    from MIRRBARegistrationLib import layout

    reviewer.application.headless.writeBundle(tmp_path / "scene.mrb")
    for _ in range(2):
        last = reviewer.parameters.result
        reviewer.application.headless.readBundle(tmp_path / "scene.mrb")
        reviewer.application.processEvents(50)
        assert reviewer.parameters.result is not last
        assert shownVolumes() == AFTER
        fixedID = reviewer.parameters.result.GetNodeReferenceID("MIRRBA.fixedVolume")
        assert layout.compositeNode(layout.FIXED).GetBackgroundVolumeID() == fixedID


def test_a_scene_without_a_result_leaves_the_reviewed_one_in_the_views(reviewer, tmp_path):
    scene = slicer.vtkMRMLScene()
    scene.AddNewNodeByClass("vtkMRMLTextNode", "Note")
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Commit()
    slicer.mrmlScene.SetURL(scene.GetURL())
    slicer.mrmlScene.Import()
    reviewer.application.processEvents(50)
    assert shownVolumes() == AFTER


def test_the_three_views_show_follow_up_warped_baseline_and_both(reviewer):
    from MIRRBARegistrationLib import layout

    names = [
        slicer.mrmlScene.GetNodeByID(layout.compositeNode(tag).GetBackgroundVolumeID()).GetName()
        for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)
    ]
    assert names == ["Follow-up PET", "Baseline PET to Follow-up PET", "Follow-up PET"]
    assert overlayLayers() == ["Follow-up PET", "Baseline PET to Follow-up PET"]
    composite = layout.compositeNode(layout.OVERLAY)
    assert composite.GetCompositing() == slicer.vtkMRMLSliceCompositeNode.Add
    assert all(layout.compositeNode(tag).GetLinkedControl() for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY))


def test_before_and_after_switch_volumes_and_segments(reviewer):
    segments = slicer.util.getNode("Baseline segments")
    warped = slicer.util.getNode("Baseline segments to Follow-up PET")
    reviewer.clicks(reviewer.ui.beforeButton)
    assert overlayLayers() == ["Follow-up PET", "Baseline PET"]
    assert segments.GetDisplayNode().GetVisibility()
    assert not warped.GetDisplayNode().GetVisibility()
    reviewer.clicks(reviewer.ui.afterButton)
    assert overlayLayers() == ["Follow-up PET", "Baseline PET to Follow-up PET"]
    assert not segments.GetDisplayNode().GetVisibility()
    assert reviewer.ui.afterButton.checked
    assert not reviewer.ui.beforeButton.checked


def test_blend_sets_how_strongly_the_baseline_shows(reviewer):
    from MIRRBARegistrationLib import layout

    reviewer.ui.blendSlider.value = 0.3
    assert layout.compositeNode(layout.OVERLAY).GetForegroundOpacity() == pytest.approx(0.3)


def test_checkerboard_and_back(reviewer):
    modes = reviewer.ui.modeComboBox
    modes.setCurrentIndex(modes.findText("Checkerboard"))
    assert overlayLayers() == ["MIRRBA checkerboard", None]
    modes.setCurrentIndex(modes.findText("Green and magenta"))
    assert overlayLayers() == ["Follow-up PET", "Baseline PET to Follow-up PET"]


def test_flicker_shows_one_after_the_other_and_stops_with_the_module(reviewer):
    from MIRRBARegistrationLib import layout

    modes = reviewer.ui.modeComboBox
    modes.setCurrentIndex(modes.findText("Flicker"))
    composite = layout.compositeNode(layout.OVERLAY)
    seen = set()
    reviewer.application.waitUntil(lambda: seen.add(composite.GetForegroundOpacity()) or len(seen) == 2, 5)
    assert seen == {0.0, 1.0}
    reviewer.widget.exit()
    opacity = composite.GetForegroundOpacity()
    reviewer.application.processEvents(900)
    assert composite.GetForegroundOpacity() == opacity


def test_only_green_and_magenta_is_coloured_whatever_was_shown_before(reviewer):
    def colours():
        nodes = [slicer.util.getNode(name) for name in ("Follow-up PET", "Baseline PET to Follow-up PET")]
        return [node.GetDisplayNode().GetColorNodeID().removeprefix("vtkMRMLColorTableNode") for node in nodes]

    modes, jacobian = reviewer.ui.modeComboBox, reviewer.ui.jacobianCheckBox
    assert colours() == ["Green", "Magenta"]
    for mode in ("Checkerboard", "Flicker", "Checkerboard"):
        modes.setCurrentIndex(modes.findText(mode))
        assert colours() == ["InvertedGrey", "InvertedGrey"]
    modes.setCurrentIndex(modes.findText("Green and magenta"))
    assert colours() == ["Green", "Magenta"]
    jacobian.checked = True
    assert colours() == ["InvertedGrey", "InvertedGrey"]
    jacobian.checked = False
    assert colours() == ["Green", "Magenta"]


def test_orientation_turns_all_three_views(reviewer):
    from MIRRBARegistrationLib import layout

    orientations = reviewer.ui.orientationComboBox
    orientations.setCurrentIndex(orientations.findText("Axial"))
    assert {layout.sliceNode(tag).GetOrientation() for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)} == {
        "Axial"
    }


def test_the_jacobian_map_and_the_grid_come_on_demand(reviewer):
    reviewer.ui.jacobianCheckBox.checked = True
    assert overlayLayers() == ["Follow-up PET", "MIRRBA Jacobian"]
    reviewer.ui.jacobianCheckBox.checked = False
    assert overlayLayers() == ["Follow-up PET", "Baseline PET to Follow-up PET"]
    transform = slicer.util.getNode("Baseline PET to Follow-up PET transform")
    reviewer.ui.gridCheckBox.checked = True
    assert transform.GetDisplayNode().GetVisibility2D()
    reviewer.ui.gridCheckBox.checked = False
    assert not transform.GetDisplayNode().GetVisibility2D()


def test_a_row_jumps_every_view_to_its_segment(reviewer):
    from MIRRBARegistrationLib.results import Result

    result = Result(reviewer.parameters.result)
    for row in (0, 3):
        reviewer.ui.segmentsTable.setCurrentCell(row, 1)
        wanted = result.position(row)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            matrix = node.GetSliceToRAS()
            centre = [matrix.GetElement(axis, 3) for axis in range(3)]
            normal = [matrix.GetElement(axis, 2) for axis in range(3)]
            distance = sum(n * (c - w) for n, c, w in zip(normal, centre, wanted, strict=True))
            assert abs(distance) < 1e-3


def test_the_titles_stay_as_they_are_when_a_row_is_chosen(reviewer):
    """Bold ones would no longer fit their columns."""
    table = reviewer.ui.segmentsTable
    header = table.horizontalHeader()
    picture = header.grab().toImage()
    table.setCurrentCell(2, 0)
    reviewer.application.processEvents(20)
    assert header.grab().toImage() == picture


def test_next_and_previous_go_round(reviewer):
    table = reviewer.ui.segmentsTable
    reviewer.clicks(reviewer.ui.nextButton)
    first = table.currentRow()
    reviewer.clicks(reviewer.ui.previousButton)
    assert table.currentRow() == (first - 1) % table.rowCount
    reviewer.clicks(reviewer.ui.nextButton)
    assert table.currentRow() == first


def test_table_and_picture_are_saved_where_the_user_says(reviewer, tmp_path):
    reviewer.application.dialogs.fileNames = [tmp_path / "table", tmp_path / "overlay"]
    reviewer.clicks(reviewer.ui.exportTableButton)
    reviewer.clicks(reviewer.ui.exportPictureButton)
    lines = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + reviewer.ui.segmentsTable.rowCount
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_a_cancelled_file_dialog_saves_nothing(reviewer, tmp_path):
    reviewer.clicks(reviewer.ui.exportTableButton)
    assert len(reviewer.application.dialogs.fileDialogs) == 1


def test_an_unwritable_place_is_one_sentence(reviewer, tmp_path):
    reviewer.application.dialogs.fileNames = [tmp_path / "no such folder" / "table.csv"]
    reviewer.clicks(reviewer.ui.exportTableButton)
    (message,) = reviewer.application.dialogs.messages
    assert "choose another folder" in message.text


def test_a_transform_alone_can_be_reviewed_before_and_after(user):
    pair = user.loadsAPair()
    user.ui.volumeCheckBox.checked = False
    user.ui.segmentationCheckBox.checked = False
    user.registers()
    assert pair.baselineVolume.GetParentTransformNode() is not None
    user.clicks(user.ui.beforeButton)
    assert pair.baselineVolume.GetParentTransformNode() is None
    user.clicks(user.ui.afterButton)
    assert pair.baselineVolume.GetParentTransformNode() is not None


@pytest.mark.parametrize(
    ("removed", "shown"),
    [
        ("Baseline PET", AFTER),
        (
            "Baseline PET to Follow-up PET",
            [("Follow-up PET", None), ("Baseline PET", None), ("Follow-up PET", "Baseline PET")],
        ),
        ("Follow-up PET", [(None, None)] * 3),
    ],
)
def test_no_view_shows_another_volume_in_the_place_of_a_removed_one(reviewer, removed, shown):
    assert shownVolumes() == AFTER
    slicer.mrmlScene.RemoveNode(slicer.util.getNode(removed))
    reviewer.application.processEvents(50)
    assert shownVolumes() == shown


def test_a_removed_volume_that_is_none_of_the_result_s_changes_no_view(user):
    """Where it is listed before the others, their rows move, and the views' selectors choose again."""
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
    user.loadsAPair()
    user.registers()
    assert shownVolumes() == AFTER
    slicer.mrmlScene.RemoveNode(other)
    user.application.processEvents(50)
    assert shownVolumes() == AFTER


def test_layers_of_the_user_s_own_choice_stay_when_another_volume_comes(reviewer):
    from MIRRBARegistrationLib import layout

    layout.compositeNode(layout.MOVING).SetBackgroundVolumeID(reviewer.parameters.movingVolume.GetID())
    chosen = shownVolumes()
    slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, reviewer.parameters.fixedVolume, "Other")
    reviewer.application.processEvents(50)
    assert shownVolumes() == chosen != AFTER


def test_a_result_whose_nodes_were_removed_does_no_harm(reviewer):
    for name in ("Baseline PET to Follow-up PET", "Baseline PET to Follow-up PET transform", "Baseline PET"):
        slicer.mrmlScene.RemoveNode(slicer.util.getNode(name))
        reviewer.application.processEvents(20)
    reviewer.ui.jacobianCheckBox.checked = True
    reviewer.ui.beforeButton.click()
    reviewer.ui.afterButton.click()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Follow-up PET"))
    reviewer.application.processEvents(20)
    reviewer.ui.segmentsTable.setCurrentCell(2, 0)


def test_a_result_is_shown_under_its_own_transform(user):
    pair = user.loadsAPair()
    first = user.getsAResult(pair, volume=False, segmentation=False)
    second = user.getsAResult(pair, volume=False, segmentation=False)
    for result in (first, second, first):
        user.parameters.result = result.table
        assert pair.baselineVolume.GetParentTransformNode() is result.transform
        assert pair.baselineSegmentation.GetParentTransformNode() is result.transform


def test_after_shows_no_outlines_that_were_not_warped(user):
    pair = user.loadsAPair()
    user.getsAResult(pair, segmentation=False)
    assert not pair.baselineSegmentation.GetDisplayNode().GetVisibility()
    user.clicks(user.ui.beforeButton)
    assert pair.baselineSegmentation.GetDisplayNode().GetVisibility()


def test_the_baseline_lies_under_the_transform_only_while_it_is_reviewed(user):
    """It takes the place of a warped PET that was removed; in another module it lies where it was acquired."""
    pair = user.loadsAPair()
    result = user.getsAResult(pair)
    slicer.mrmlScene.RemoveNode(result.volume)
    user.application.processEvents(50)
    assert pair.baselineVolume.GetParentTransformNode() is result.transform
    user.widget.exit()
    assert pair.baselineVolume.GetParentTransformNode() is None
    user.widget.enter()
    assert pair.baselineVolume.GetParentTransformNode() is result.transform


def test_what_a_run_has_put_under_its_transform_is_left_there(user):
    pair = user.loadsAPair()
    user.getsAResult(pair, volume=False, segmentation=False)
    user.clicks(user.ui.beforeButton)
    pair.baselineVolume.SetAndObserveTransformNodeID(None)  # as the next run does
    result = user.getsAResult(pair, volume=False, segmentation=False)
    user.clicks(user.ui.afterButton)
    user.widget.exit()
    assert pair.baselineVolume.GetParentTransformNode() is result.transform


def test_a_baseline_under_a_transform_of_the_user_s_has_no_after_without_a_warped_volume(user):
    pair = user.loadsAPair()
    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Table shift")
    pair.baselineVolume.SetAndObserveTransformNodeID(shift.GetID())
    toolTip = user.ui.afterButton.toolTip
    user.getsAResult(pair, volume=False, segmentation=False)
    assert not user.ui.afterButton.enabled
    assert "Table shift" in user.ui.afterButton.toolTip
    assert user.ui.beforeButton.checked
    assert shownVolumes() == [("Follow-up PET", None), ("Baseline PET", None), ("Follow-up PET", "Baseline PET")]
    assert pair.baselineVolume.GetParentTransformNode() is shift
    user.getsAResult(pair)
    assert user.ui.afterButton.enabled
    assert user.ui.afterButton.toolTip == toolTip


def isInView(tag, position) -> bool:
    """Whether a point (RAS mm) lies in what the view shows."""
    from MIRRBARegistrationLib import layout

    node = layout.sliceNode(tag)
    rasToXY = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), rasToXY)
    x, y, z, _ = rasToXY.MultiplyPoint([*position, 1.0])
    width, height, _ = node.GetDimensions()
    return 0 <= x <= width and 0 <= y <= height and abs(z) < 1e-3


def test_a_result_whose_follow_up_lies_elsewhere_is_brought_into_view(user):
    """Two scanners put their origins where they like."""
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    far = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.followUpVolume, "Far follow-up")
    x, y, z = far.GetOrigin()
    far.SetOrigin(x, y, z + 3000)
    near = user.getsAResult(pair)
    user.getsAResult(pair, fixedVolume=far)
    for result in (near, user.panel.review._result, near):
        user.parameters.result = result.table
        user.application.processEvents(50)
        bounds = [0.0] * 6
        result.fixedVolume.GetRASBounds(bounds)
        middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
            layout.sliceNode(tag).JumpSliceByOffsetting(*middle)
            assert isInView(tag, middle)


def test_the_zoom_stays_with_another_result_of_the_same_follow_up(user):
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    first = user.getsAResult(pair)
    user.getsAResult(pair)
    layout.sliceNode(layout.FIXED).SetFieldOfView(80, 80, 1)
    user.parameters.result = first.table
    user.application.processEvents(50)
    assert layout.sliceNode(layout.FIXED).GetFieldOfView()[:2] == (80, 80)


def test_a_row_brings_its_lesion_into_a_view_that_is_zoomed_in_elsewhere(user):
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    user.getsAResult(pair, segments=[a_segment("lesion 1", (-60, 40, 700)), a_segment("lesion 2", (-62, 41, 702))])
    for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
        node = layout.sliceNode(tag)
        node.SetFieldOfView(90, 90 * node.GetFieldOfView()[1] / node.GetFieldOfView()[0], 1)
        node.SetXYZOrigin(300, 0, 0)
    user.ui.segmentsTable.setCurrentCell(0, 0)
    assert all(isInView(tag, (60, -40, 700)) for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY))
    matrix = layout.sliceNode(layout.FIXED).GetSliceToRAS()
    centre = [matrix.GetElement(axis, 3) for axis in range(3)]
    user.ui.segmentsTable.setCurrentCell(1, 0)
    assert [matrix.GetElement(axis, 3) for axis in (0, 2)] == [centre[0], centre[2]]  # it was in view: no jerk
