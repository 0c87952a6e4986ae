"""The review of a result: views, layers, table, maps."""

import pytest
import slicer
import vtk
from panel_user import a_segment, overlayLayers, shownVolumes


def qtPoint():
    import qt

    return qt.QPoint(0, 0)


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


def test_outlines_are_given_back_as_the_user_had_them(user):
    pair = user.loadsAPair()
    baseline, followUp = (node.GetDisplayNode() for node in (pair.baselineSegmentation, pair.followUpSegmentation))
    baseline.SetVisibility(True)
    for display in (baseline, followUp):
        display.SetVisibility2DFill(True)
    followUp.SetVisibility(False)
    result = user.getsAResult(pair)
    assert not baseline.GetVisibility()
    assert followUp.GetVisibility()
    assert not followUp.GetVisibility2DFill()
    user.widget.exit()
    assert baseline.GetVisibility()
    assert baseline.GetVisibility2DFill()
    assert not followUp.GetVisibility()
    assert followUp.GetVisibility2DFill()
    assert followUp.GetViewNodeIDs() == ()
    warped = result.segmentation.GetDisplayNode()
    assert warped.GetSliceIntersectionThickness() == followUp.GetSliceIntersectionThickness()
    user.widget.enter()
    assert followUp.GetVisibility()
    assert not baseline.GetVisibility()


def test_outlines_that_the_user_switches_stay_until_the_result_or_before_and_after_change(user):
    pair = user.loadsAPair()
    user.getsAResult(pair)
    display = pair.followUpSegmentation.GetDisplayNode()
    display.SetVisibility(False)
    display.SetVisibility2DFill(True)
    user.ui.blendSlider.value = 0.3
    assert not display.GetVisibility()
    assert display.GetVisibility2DFill()
    user.clicks(user.ui.beforeButton)
    user.clicks(user.ui.afterButton)
    assert display.GetVisibility()


def test_outlines_lie_on_what_they_belong_to_and_differ_in_width_where_both_are_seen(user):
    from MIRRBARegistrationLib import layout

    result = user.getsAResult(user.loadsAPair())
    followUp, warped = (node.GetDisplayNode() for node in (result.fixedSegmentation, result.segmentation))
    views = [layout.sliceNode(tag).GetID() for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)]
    assert [followUp.IsDisplayableInView(view) for view in views] == [True, False, True]
    assert [warped.IsDisplayableInView(view) for view in views] == [False, True, True]
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetID()
    assert followUp.IsDisplayableInView(red)
    assert warped.IsDisplayableInView(red)
    assert warped.GetSliceIntersectionThickness() > followUp.GetSliceIntersectionThickness()


def test_a_window_that_the_user_has_set_stays(user):
    pair = user.loadsAPair()
    user.getsAResult(pair)
    display = pair.followUpVolume.GetDisplayNode()
    original = user.ui.modeComboBox.currentIndex
    display.SetWindowLevelMinMax(1, 3)
    user.ui.modeComboBox.setCurrentIndex(user.ui.modeComboBox.findText("Checkerboard"))
    user.ui.modeComboBox.setCurrentIndex(original)
    user.ui.jacobianCheckBox.checked = True
    user.ui.jacobianCheckBox.checked = False
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (1, 3)
    user.widget.exit()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) != (1, 3)
    user.widget.enter()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (1, 3)


def test_blend_changes_neither_links_nor_orientation_nor_layout(user):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
        layout.compositeNode(tag).SetLinkedControl(False)
        layout.sliceNode(tag).SetOrientation("Axial")
    user.ui.blendSlider.value = 0.3
    for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
        assert not layout.compositeNode(tag).GetLinkedControl()
        assert layout.sliceNode(tag).GetOrientation() == "Axial"
    fourUp = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    layout.setArrangement(fourUp)
    user.ui.blendSlider.value = 0.6
    assert layout.arrangement() == fourUp
    user.clicks(user.ui.beforeButton)
    assert layout.isShown()
    user.ui.orientationComboBox.setCurrentIndex(user.ui.orientationComboBox.findText("Sagittal"))
    assert layout.sliceNode(layout.FIXED).GetOrientation() == "Sagittal"


def test_outlines_of_one_result_only_are_shown(user):
    pair = user.loadsAPair()
    first, second = user.getsAResult(pair), user.getsAResult(pair)
    for shown, other in ((first, second), (second, first)):
        user.parameters.result = shown.table
        assert shown.segmentation.GetDisplayNode().GetVisibility()
        assert not other.segmentation.GetDisplayNode().GetVisibility()


def test_a_removed_result_leaves_no_colours_behind(user):
    pair = user.loadsAPair()
    before = looks(pair.followUpVolume)
    user.getsAResult(pair)
    slicer.mrmlScene.RemoveNode(user.parameters.result)
    user.application.processEvents(50)
    assert looks(pair.followUpVolume) == before


def test_a_control_of_the_review_does_not_replace_the_preview_of_a_run(user):
    from MIRRBARegistrationLib.registrationJob import Inputs

    pair = user.loadsAPair()
    user.getsAResult(pair)
    preview = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.baselineVolume, "Preview")
    inputs = Inputs(pair.followUpVolume, pair.baselineVolume)
    user.panel.review._review.showPreview(inputs, preview, user.parameters.orientation)
    user.application.processEvents(20)
    shown = shownVolumes()
    assert shown[1] == ("Preview", None)
    user.ui.blendSlider.value = 0.3
    user.clicks(user.ui.beforeButton)
    assert shownVolumes() == shown
    assert not user.ui.exportPictureButton.enabled
    slicer.mrmlScene.RemoveNode(preview)
    user.application.processEvents(20)
    assert shownVolumes()[1] == ("Baseline PET", None)
    assert user.ui.exportPictureButton.enabled


def test_the_crosshair_is_given_back(user):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    pair = user.loadsAPair()
    user.getsAResult(pair, segments=[a_segment("lesion 1", (-60, 40, 700))])
    for mode in (crosshair.NoCrosshair, crosshair.ShowSmallBasic):
        crosshair.SetCrosshairMode(mode)
        user.ui.segmentsTable.setCurrentCell(-1, -1)
        user.ui.segmentsTable.setCurrentCell(0, 0)
        assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
        user.widget.exit()
        assert crosshair.GetCrosshairMode() == mode
        user.widget.enter()


def test_a_row_without_a_position_says_so_and_points_nowhere(user):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    rows = [a_segment("lesion 1", (-60, 40, 700)), a_segment("lesion 2")]
    user.getsAResult(user.loadsAPair(), segments=rows)
    user.ui.segmentsTable.setCurrentCell(0, 0)
    user.ui.segmentsTable.setCurrentCell(1, 0)
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    assert "lesion 2" in slicer.util.mainWindow().statusBar().currentMessage()


def test_a_volume_without_a_display_is_not_left_in_colours(user):
    pair = user.loadsAPair()
    slicer.mrmlScene.RemoveNode(pair.followUpVolume.GetDisplayNode())
    user.getsAResult(pair)
    assert looks(pair.followUpVolume)[0] == "vtkMRMLColorTableNodeGreen"
    user.widget.exit()
    assert looks(pair.followUpVolume)[0] != "vtkMRMLColorTableNodeGreen"


@pytest.mark.parametrize("answer", ["no", "yes"])
def test_a_file_that_only_the_added_ending_finds_is_not_overwritten_without_a_question(user, tmp_path, answer):
    user.getsAResult(user.loadsAPair(), segments=[a_segment("lesion 1", (-60, 40, 700))])
    (tmp_path / "table.csv").write_text("mine")
    user.application.dialogs.fileNames = [tmp_path / "table"]
    user.application.dialogs.answer = answer
    user.clicks(user.ui.exportTableButton)
    (question,) = user.application.dialogs.messages
    assert "table.csv" in question.text
    assert ((tmp_path / "table.csv").read_text() == "mine") == (answer == "no")


def test_tab_leaves_the_table(user):
    assert not user.ui.segmentsTable.tabKeyNavigation


def test_the_titles_say_whose_segment_is_measured(user):
    scores = {"fixed_ml": 1.0, "max_fixed": 2.0, "moved_mm": 3.0}
    user.getsAResult(user.loadsAPair(), segments=[a_segment("lesion 1", (-60, 40, 700), **scores)])
    table = user.ui.segmentsTable
    items = [table.horizontalHeaderItem(column) for column in range(table.columnCount)]
    tips = {item.text(): item.toolTip() for item in items}
    assert "drawn on the follow-up" in tips["Follow-up ml"]
    assert "warped" in next(tip for title, tip in tips.items() if title.startswith("Follow-up") and "max" in title)
    assert tips["Moved mm"] == ""


def test_a_narrow_window_has_the_views_in_two_rows(user):
    """Three side by side would leave no room for the panel."""
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    places = [slicer.app.layoutManager().sliceWidget(tag) for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)]
    top = [widget.mapTo(slicer.util.mainWindow(), qtPoint()).y() for widget in places]
    assert top[0] == top[1] == top[2]
    for withPlot in (False, True):
        user.application.mainWindow.resize(1024, 768)
        user.parameters.showLossPlot = withPlot
        user.panel.update()
        user.application.processEvents(50)
        assert layout.isShown()
        top = [widget.mapTo(slicer.util.mainWindow(), qtPoint()).y() for widget in places]
        assert top[0] == top[1] < top[2]
        layout.fitViews()
        for node in map(layout.sliceNode, (layout.FIXED, layout.MOVING, layout.OVERLAY)):
            width, height = (node.GetFieldOfView()[axis] / node.GetDimensions()[axis] for axis in range(2))
            assert width == pytest.approx(height, rel=0.02)  # nothing is stretched
        shown, whole = (layout.sliceNode(tag).GetFieldOfView()[:2] for tag in (layout.OVERLAY, layout.FIXED))
        assert all(a >= b - 1e-6 for a, b in zip(shown, whole, strict=True))
