"""What happens around a run: the scene closed, nodes removed, the module reloaded, another module in use."""

import gc
import sys

import pytest
import slicer
import vtk
from conftest import qtStarts
from panel_user import LONG, MODULE_FILE, VISIBLE, isAlive, nodeNames, overlayLayers


def test_closing_the_scene_stops_the_child_and_loads_nothing(user):
    user.loadsAPair()
    child = user.startsALongRun()
    slicer.mrmlScene.Clear()
    user.application.processEvents(300)
    assert not isAlive(child)
    assert nodeNames(*VISIBLE) == set()
    assert user.ui.applyButton.text == "Select a follow-up PET (fixed)"
    assert user.application.dialogs.messages == []


def test_after_closing_the_scene_the_panel_works_again(user):
    user.loadsAPair()
    slicer.mrmlScene.Clear()
    user.application.processEvents(50)
    user.loadsAPair()
    user.registers()
    assert user.ui.statusLabel.text.startswith("Done in")


def test_the_next_scene_has_the_user_s_layout_and_none_of_the_last_one_s_windows(user):
    from MIRRBARegistrationLib import layout

    arrangement = layout.arrangement()
    for lower, upper in ((1, 7), (0, 20)):
        pair = user.loadsAPair()
        display = pair.followUpVolume.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(lower, upper)
        user.registers()
        assert layout.isShown()
        user.widget.exit()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (lower, upper)
        user.widget.enter()
        slicer.mrmlScene.Clear()
        user.application.processEvents(50)
        assert layout.arrangement() == arrangement


def test_nothing_is_kept_of_a_result_whose_scene_was_closed(reviewer):
    parameters = reviewer.parameters
    references = []
    for node in (parameters.result, parameters.fixedSegmentation, parameters.movingVolume):
        references.append(vtk.vtkWeakReference())
        references[-1].Set(node)
    del parameters, node
    slicer.mrmlScene.Clear()
    reviewer.application.processEvents(50)
    gc.collect()
    assert [reference.Get() for reference in references] == [None] * 3


def test_the_widget_can_be_shown_by_itself(user):
    """As `MIRRBARegistrationWidget()` in Slicer's console: its base class sets it up in its own constructor."""
    user.loadsAPair()
    alone = type(user.widget)()
    try:
        assert alone.panel.parameters is not None
        assert alone.ui.fixedVolumeSelector.currentNode() is user.parameters.fixedVolume
        assert alone.ui.applyButton.enabled
    finally:
        alone.cleanup()


def test_reloading_the_module_stops_the_child_and_the_panel_works_again(user):
    user.loadsAPair()
    child = user.startsALongRun()
    user.widget.onReload()
    user.application.processEvents(300)
    assert not isAlive(child)
    user.widget = slicer.modules.MIRRBARegistrationWidget
    user.ui = user.widget.ui
    user.registers()
    assert user.ui.statusLabel.text.startswith("Done in")


def test_after_a_reload_other_tests_have_the_engine_that_they_had():
    if not qtStarts():
        pytest.skip("PySide6 is not installed, or lacks a system library (docs/developer.md names them)")
    import mirrba.errors
    import standin

    before = sys.modules["mirrba.errors"]
    with standin.SlicerApplication() as application:
        application.loadModule(MODULE_FILE).onReload()
        application.processEvents(50)
    assert sys.modules["mirrba.errors"] is before is mirrba.errors


def test_leaving_the_application_stops_the_child(user):
    user.loadsAPair()
    child = user.startsALongRun()
    user.widget.cleanup()
    assert not isAlive(child)


def test_another_module_does_not_stop_the_run(user):
    user.loadsAPair()
    user.choosesFast()
    user.clicks(user.ui.applyButton)
    user.widget.exit()
    user.waitsForTheEnd()
    user.widget.enter()
    assert user.parameters.result is not None


def test_a_cancelled_run_gives_the_views_back(user):
    """Colours, windows and layout are the user's; and no view shows one volume as if it were the other."""
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    pair.followUpVolume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    pair.followUpVolume.GetDisplayNode().SetWindowLevelMinMax(1, 7)
    arrangement = layout.arrangement()
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    assert layout.isShown()
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    display = pair.followUpVolume.GetDisplayNode()
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (1, 7)
    assert layout.arrangement() == arrangement
    assert layout.compositeNode(layout.MOVING).GetBackgroundVolumeID() == pair.baselineVolume.GetID()
    assert layout.compositeNode(layout.OVERLAY).GetForegroundVolumeID() == pair.baselineVolume.GetID()
    assert nodeNames("vtkMRMLPlotChartNode") == set()


def test_a_user_of_another_module_is_left_alone(user):
    from MIRRBARegistrationLib import layout

    user.loadsAPair()
    arrangement = layout.arrangement()
    user.choosesFast()
    user.clicks(user.ui.applyButton)
    user.widget.exit()
    user.waitsForTheEnd()
    assert layout.arrangement() == arrangement
    user.widget.enter()
    assert layout.isShown()
    assert overlayLayers() == ["Follow-up PET", "Baseline PET to Follow-up PET"]
    color = slicer.util.getNode("Follow-up PET").GetDisplayNode().GetColorNodeID()
    user.widget.exit()
    assert slicer.util.getNode("Follow-up PET").GetDisplayNode().GetColorNodeID() != color
    # two grey images added would be white where either is
    composite = layout.compositeNode(layout.OVERLAY)
    assert composite.GetCompositing() == slicer.vtkMRMLSliceCompositeNode.Alpha
    assert composite.GetForegroundOpacity() == 0
    user.widget.enter()
    assert composite.GetCompositing() == slicer.vtkMRMLSliceCompositeNode.Add
    assert composite.GetForegroundOpacity() == 1


def test_an_input_that_is_removed_ends_the_run_at_once(user):
    pair = user.loadsAPair()
    child = user.startsALongRun()
    slicer.mrmlScene.RemoveNode(pair.baselineVolume)
    user.waitsForTheEnd()
    assert "removed from the scene" in user.ui.statusLabel.text
    assert not isAlive(child)


def test_a_transform_only_result_does_not_block_the_next_run(user):
    user.loadsAPair()
    user.ui.volumeCheckBox.checked = False
    user.ui.segmentationCheckBox.checked = False
    user.registers()
    assert user.ui.applyButton.enabled, user.reads
    user.registers()
    assert user.ui.statusLabel.text.startswith("Done in")


@pytest.mark.parametrize("kind", ["shear", "empty segmentation"])
def test_what_the_engine_would_refuse_is_said_before(user, kind):
    import vtk

    pair = user.loadsAPair()
    if kind == "shear":
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 1, 0.4)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(matrix)
        pair.baselineVolume.SetAndObserveTransformNodeID(transform.GetID())
    else:
        pair.baselineSegmentation.GetSegmentation().RemoveAllSegments()
    user.application.processEvents(20)
    user.panel.update()
    assert not user.ui.applyButton.enabled
    assert ("shears" if kind == "shear" else "no segments") in user.reads


def test_left_out_segments_and_checked_follow_ups_survive_loading(user, tmp_path):
    import qt

    pair = user.loadsAPair()
    user.ui.segmentsList.item(2).setCheckState(qt.Qt.Unchecked)
    user.ui.followUpsComboBox.setCheckState(pair.followUpVolume, qt.Qt.Checked)
    leftOut = list(user.parameters.leftOutSegments)
    assert len(leftOut) == 1
    user.application.headless.writeBundle(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear()
    user.application.processEvents(20)
    user.application.headless.readBundle(tmp_path / "scene.mrb")
    user.application.processEvents(50)
    assert list(user.parameters.leftOutSegments) == leftOut
    assert user.ui.segmentsList.item(2).checkState() == qt.Qt.Unchecked
    assert [node.GetName() for node in user.parameters.followUps] == ["Follow-up PET"]
    assert [node.GetName() for node in user.ui.followUpsComboBox.checkedNodes()] == ["Follow-up PET"]


def test_the_keys_are_given_back_before_anything_can_go_wrong(user, monkeypatch):
    def fail():
        raise RuntimeError

    monkeypatch.setattr(user.panel.review._review, "leave", fail)
    with pytest.raises(RuntimeError):
        user.widget.exit()
    assert user.panel.review._shortcuts == []
