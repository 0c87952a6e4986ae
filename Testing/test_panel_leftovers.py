"""What one result, run or scene leaves behind when another comes, or another module: nothing that misleads."""

import types

import pytest
import slicer
from panel_user import LONG, a_segment, shownVolumes


def seen(segmentation) -> bool:
    return segmentation.GetDisplayNode().GetVisibility() != 0


def runsUntilThePreview(user) -> None:
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)


def cancels(user) -> None:
    user.waitsForIterations()
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()


def test_another_result_s_outlines_stay_hidden_when_the_module_is_shown_again(user):
    pair = user.loadsAPair()
    first, second = user.getsAResult(pair), user.getsAResult(pair)
    assert (seen(first.segmentation), seen(second.segmentation)) == (False, True)
    user.widget.exit()
    user.widget.enter()
    assert (seen(first.segmentation), seen(second.segmentation)) == (False, True)


def test_an_earlier_result_s_outlines_are_hidden_when_one_comes_while_another_module_is_shown(user):
    pair = user.loadsAPair()
    first = user.getsAResult(pair)
    first.segmentation.GetDisplayNode().SetVisibility2DFill(True)
    user.widget.exit()
    user.getsAResult(pair)
    second = user.parameters.result.GetNodeReference("MIRRBA.segmentation")
    user.widget.enter()
    user.application.processEvents(50)
    assert (seen(first.segmentation), seen(second)) == (False, True)


def test_a_preview_hides_the_outlines_of_every_result(user):
    pair = user.loadsAPair()
    results = [user.getsAResult(pair) for _ in range(2)]
    user.widget.exit()
    user.widget.enter()
    runsUntilThePreview(user)
    assert [seen(result.segmentation) for result in results] == [False, False]
    cancels(user)
    assert [seen(result.segmentation) for result in results] == [False, True]


def aSegmentation(name, volume=None):
    """Drawn on the volume; without one, as from a file, which does not say on what."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def test_only_what_is_drawn_on_the_follow_up_stays_while_a_result_is_looked_at(user):
    from MIRRBARegistrationLib.guess import OUTPUT_ATTRIBUTE

    pair = user.loadsAPair()
    organs = aSegmentation("Organs", pair.followUpVolume)
    others = [
        aSegmentation("Another patient's", anotherPatient(user, pair)),
        aSegmentation("Of the baseline, which is not where it was", pair.baselineVolume),
        aSegmentation("From a file"),
        aSegmentation("Warped by a script", pair.followUpVolume),
    ]
    others[-1].SetAttribute(OUTPUT_ATTRIBUTE, "1")
    user.getsAResult(pair)
    assert [seen(node) for node in (organs, *others)] == [True, False, False, False, False]
    for node in others:
        node.GetDisplayNode().SetVisibility(True)  # the user asks for them
    user.clicks(user.ui.beforeButton)
    user.getsAResult(pair)
    assert all(seen(node) for node in (organs, *others))
    runsUntilThePreview(user)
    cancels(user)
    assert all(seen(node) for node in (organs, *others))
    user.widget.exit()
    assert all(seen(node) for node in (organs, *others))


def test_what_is_drawn_on_the_warped_baseline_is_drawn_on_the_follow_up(user):
    pair = user.loadsAPair()
    result = user.getsAResult(pair)
    user.widget.exit()
    drawn = aSegmentation("Drawn in another module", result.volume)
    user.widget.enter()
    assert seen(drawn)


def test_a_follow_up_s_own_segments_stay_also_where_another_result_has_them(user):
    pair = user.loadsAPair()
    user.getsAResult(pair)
    withoutIt = types.SimpleNamespace(**{**vars(pair), "followUpSegmentation": None})
    user.getsAResult(withoutIt)
    assert seen(pair.followUpSegmentation)


def test_in_another_layout_nothing_is_hidden_until_the_review_is_there_again(user):
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    user.getsAResult(pair)
    layout.setArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    theirs = aSegmentation("Theirs", anotherPatient(user, pair))
    user.application.processEvents(50)
    assert seen(theirs)
    user.clicks(user.ui.afterButton)  # it was down already: all that changes is the layout
    assert not seen(theirs)


def test_what_was_drawn_on_another_image_of_the_study_stays(user):
    """As the organs on the CT of a PET/CT."""
    from MIRRBARegistrationLib.nodes import placeUnder

    pair = user.loadsAPair()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    studies = [hierarchy.CreateStudyItem(patient, name) for name in ("Baseline", "Follow-up", "Second follow-up")]
    placeUnder(pair.baselineVolume, studies[0])
    placeUnder(pair.followUpVolume, studies[1])
    ofCT = [aSegmentation(f"Organs {number}", anotherPatient(user, pair)) for number in range(3)]
    for node, study in zip(ofCT, studies, strict=True):
        placeUnder(node, study)
    user.getsAResult(pair)
    assert [seen(node) for node in ofCT] == [False, True, False]


def test_what_was_hidden_is_there_where_it_belongs(user):
    pair = user.loadsAPair()
    another = anotherPatient(user, pair)
    ours, theirs = aSegmentation("Ours", pair.followUpVolume), aSegmentation("Theirs", another)
    first = user.getsAResult(pair)
    user.getsAResult(pair, fixedVolume=another)
    assert (seen(ours), seen(theirs)) == (False, True)
    user.parameters.result = first.table
    assert (seen(ours), seen(theirs)) == (True, False)
    user.widget.exit()
    assert (seen(ours), seen(theirs)) == (True, True)


def test_what_is_loaded_during_a_review_stays_unless_it_is_of_another_image(user):
    pair = user.loadsAPair()
    another = anotherPatient(user, pair)
    user.getsAResult(pair)
    fromFile, theirs = aSegmentation("From a file"), aSegmentation("Theirs", another)
    user.application.processEvents(50)
    assert (seen(fromFile), seen(theirs)) == (True, False)


def test_a_transform_that_is_removed_while_after_is_shown_leaves_no_baseline_as_after(user):
    from MIRRBARegistrationLib import layout

    pair = user.loadsAPair()
    result = user.getsAResult(pair, volume=False)
    overlay = layout.compositeNode(layout.OVERLAY)
    assert overlay.GetForegroundVolumeID() == pair.baselineVolume.GetID()
    slicer.mrmlScene.RemoveNode(result.transform)
    user.application.processEvents(50)
    assert pair.baselineVolume.GetID() not in (overlay.GetBackgroundVolumeID(), overlay.GetForegroundVolumeID())


def test_the_grid_is_that_of_one_result_and_goes_with_the_module(user):
    def gridded():
        displays = [result.transform.GetDisplayNode() for result in results]
        return [display is not None and display.GetVisibility2D() != 0 for display in displays]

    pair = user.loadsAPair()
    results = [user.getsAResult(pair) for _ in range(2)]
    user.ui.gridCheckBox.checked = True
    assert gridded() == [False, True]
    user.parameters.result = results[0].table
    assert gridded() == [True, False]
    user.widget.exit()
    assert gridded() == [False, False]
    user.widget.enter()
    assert gridded() == [True, False]


def test_volumes_made_to_be_looked_at_leave_no_display_behind(user):
    def displays():
        return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode")

    pair = user.loadsAPair()
    user.getsAResult(pair)
    before = displays()
    user.ui.modeComboBox.setCurrentIndex(user.ui.modeComboBox.findText("Checkerboard"))
    assert displays() == before + 1
    user.ui.modeComboBox.setCurrentIndex(user.ui.modeComboBox.findText("Green and magenta"))
    user.panel.review._review.clear()
    assert displays() == before
    runsUntilThePreview(user)
    cancels(user)
    assert displays() == before


def test_after_closing_a_reviewed_scene_the_inputs_are_asked_for_and_previews_are_linked(user):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    assert user.ui.inputsCollapsibleButton.collapsed
    layout.setArrangement(layout.VIEWS_LAYOUT)
    slicer.mrmlScene.Clear()
    for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
        layout.compositeNode(tag).SetLinkedControl(False)  # as Slicer leaves it
    user.application.processEvents(50)
    assert not user.ui.inputsCollapsibleButton.collapsed
    user.loadsAPair()
    runsUntilThePreview(user)
    assert all(layout.compositeNode(tag).GetLinkedControl() for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY))
    cancels(user)


@pytest.mark.parametrize("name", ["OneUpRedSlice", "Initial"])  # the second is Slicer's at its start, and is 0
def test_the_layout_that_the_review_replaced_comes_back_with_the_next_scene(user, name):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    own = getattr(slicer.vtkMRMLLayoutNode, f"SlicerLayout{name}View")
    layout.setArrangement(own)
    user.clicks(user.ui.beforeButton)
    assert layout.isShown()
    slicer.mrmlScene.Clear()
    user.application.processEvents(50)
    assert layout.arrangement() == own


@pytest.mark.parametrize("isKnown", [True, False], ids=["own layout", "module opened after the scene"])
def test_the_review_layout_of_a_scene_that_was_opened_goes_with_it(user, tmp_path, isKnown):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    user.application.headless.writeBundle(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear()
    own = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    layout.setArrangement(own)
    slicer.mrmlScene.Clear()  # as "open" does, where the scene has no layout then
    layout.setArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutNone)
    user.application.headless.readBundle(tmp_path / "scene.mrb")
    user.application.processEvents(50)
    layout.setArrangement(layout.VIEWS_LAYOUT)  # which the file may bring
    if not isKnown:
        user.panel.review._review.memory._arrangementAtClose = None
    slicer.mrmlScene.Clear()
    user.application.processEvents(50)
    assert layout.arrangement() == (own if isKnown else slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)


def test_a_scene_that_was_saved_in_another_layout_keeps_it_until_the_user_asks(user, tmp_path):
    from MIRRBARegistrationLib import layout

    fourUp = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    user.getsAResult(user.loadsAPair())
    layout.setArrangement(fourUp)
    user.application.headless.writeBundle(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear()
    user.application.processEvents(50)
    layout.setArrangement(fourUp)
    user.application.headless.readBundle(tmp_path / "scene.mrb")
    user.application.processEvents(50)
    assert user.parameters.result is not None
    assert layout.arrangement() == fourUp
    user.clicks(user.ui.afterButton)
    assert layout.isShown()


def anotherPatient(user, pair):
    """Their follow-up, in the scene."""
    clone = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.followUpVolume, "Another follow-up")
    user.application.processEvents(50)
    return clone


def test_another_patient_s_result_has_no_row_chosen_and_no_crosshair(user):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    pair = user.loadsAPair()
    other = anotherPatient(user, pair)
    first = user.getsAResult(pair, segments=[a_segment("lesion 1", (-60, 40, 700))])
    user.ui.segmentsTable.setCurrentCell(0, 0)
    second = user.getsAResult(pair, fixedVolume=other, segments=[a_segment("lesion 1", (10, 20, 400))])
    for result in (second, first, second):
        user.parameters.result = result.table
        user.application.processEvents(50)
        assert user.ui.segmentsTable.currentRow() == -1
        assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
        user.ui.segmentsTable.setCurrentCell(0, 0)
        assert crosshair.GetCrosshairMode() == crosshair.ShowBasic


def test_a_row_does_not_lead_into_the_preview_of_another_patient(user):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    pair = user.loadsAPair()
    other = anotherPatient(user, pair)
    user.getsAResult(pair, segments=[a_segment("lesion 1", (-60, 40, 700))])
    user.parameters.fixedVolume = other
    runsUntilThePreview(user)
    user.clicks(user.ui.nextButton)
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    cancels(user)


def test_the_row_stays_also_where_the_result_comes_while_another_module_is_shown(user):
    pair = user.loadsAPair()
    segments = [a_segment("lesion 1", (-60, 40, 700)), a_segment("lesion 2", (-62, 41, 702))]
    user.getsAResult(pair, segments=segments)
    user.ui.segmentsTable.setCurrentCell(1, 0)
    user.widget.exit()
    user.getsAResult(pair, segments=segments)
    user.widget.enter()
    assert user.ui.segmentsTable.currentRow() == 1


def test_what_a_script_warps_during_a_review_is_hidden_once(user):
    from MIRRBARegistrationLib.guess import OUTPUT_ATTRIBUTE

    user.getsAResult(user.loadsAPair())
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Warped by a script")
    made.CreateDefaultDisplayNodes()
    made.SetAttribute(OUTPUT_ATTRIBUTE, "1")
    user.application.processEvents(50)
    assert not seen(made)
    made.GetDisplayNode().SetVisibility(True)
    user.ui.blendSlider.value = 0.3
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "Note")
    user.application.processEvents(50)
    assert seen(made)
    user.widget.exit()
    assert seen(made)


def test_another_run_of_the_same_pair_stays_at_the_lesion(user):
    from MIRRBARegistrationLib import layout

    def place():
        node = layout.sliceNode(layout.FIXED)
        matrix = node.GetSliceToRAS()
        return [*node.GetFieldOfView(), *(matrix.GetElement(axis, 3) for axis in range(3))]

    user.loadsAPair()
    user.registers()
    node = layout.sliceNode(layout.FIXED)
    node.SetFieldOfView(*(size / 3 for size in node.GetFieldOfView()[:2]), 1)
    user.ui.segmentsTable.setCurrentCell(3, 0)
    before = place()
    runsUntilThePreview(user)
    user.application.processEvents(50)
    assert place() == pytest.approx(before)
    user.clicks(user.ui.keepButton)
    user.waitsForTheEnd()
    assert place() == pytest.approx(before, abs=8)  # the lesion may lie a little elsewhere now
    assert user.ui.segmentsTable.currentRow() == 3


@pytest.mark.parametrize("button", ["afterButton", "beforeButton"])
def test_before_and_after_bring_the_review_layout_also_where_they_are_down(user, button):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair())
    user.clicks(getattr(user.ui, button))
    layout.setArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    user.clicks(getattr(user.ui, button))
    assert layout.isShown()
    assert getattr(user.ui, button).checked


def test_another_orientation_shows_the_same_lesion(user):
    from MIRRBARegistrationLib import layout

    user.getsAResult(user.loadsAPair(), segments=[a_segment("lesion 1", (-60, 40, 700))])
    user.ui.segmentsTable.setCurrentCell(0, 0)
    for orientation, axis, wanted in (("Axial", 2, 700), ("Sagittal", 0, 60), ("Coronal", 1, -40)):
        user.ui.orientationComboBox.setCurrentIndex(user.ui.orientationComboBox.findText(orientation))
        for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY):
            assert layout.sliceNode(tag).GetSliceToRAS().GetElement(axis, 3) == pytest.approx(wanted)


def test_a_preview_has_no_crosshair_of_an_earlier_result(user):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    user.getsAResult(user.loadsAPair(), segments=[a_segment("lesion 1", (-60, 40, 700))])
    user.ui.segmentsTable.setCurrentCell(0, 0)
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    runsUntilThePreview(user)
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    cancels(user)


def test_a_double_click_starts_a_run_and_does_not_cancel_it(user):
    user.loadsAPair()
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    user.clicks(user.ui.applyButton)
    user.waitsForIterations()
    cancels(user)
    assert user.ui.statusLabel.text == "Cancelled; nothing was changed."


def test_the_plot_always_has_a_line_and_a_cancelled_run_gives_the_earlier_one_back(user):
    """Slicer's view reports an error for a line of fewer than two points."""
    from MIRRBARegistrationLib import layout

    def chart():
        return layout.plotViewNode().GetPlotChartNode()

    def points() -> int:
        return chart().GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows()

    user.loadsAPair()
    user.ui.lossPlotCheckBox.checked = True
    user.registers("200")
    earlier, count = chart(), points()
    assert count > 1
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    seenPoints = []
    user.application.waitUntil(lambda: seenPoints.append(points()) or chart() is not earlier, 60)
    assert min(seenPoints) > 1
    cancels(user)
    assert chart() is earlier
    assert points() == count


def test_a_result_whose_follow_up_was_removed_before_the_module_is_shown_again_does_no_harm(user):
    pair = user.loadsAPair()
    user.getsAResult(pair)
    user.widget.exit()
    user.getsAResult(pair)
    slicer.mrmlScene.RemoveNode(pair.followUpVolume)
    user.application.processEvents(50)
    user.widget.enter()
    user.application.processEvents(50)
    assert shownVolumes() == [(None, None)] * 3
