"""Runs started in the panel: progress, previews, the loss plot, results, stop and cancel."""

import itertools
import os
import time
from pathlib import Path

import pytest
import slicer
from panel_user import LONG, VISIBLE, childOf, isAlive, nodeNames, shownVolumes


def test_a_registration_brings_transform_volume_segments_and_table(user):
    pair = user.loadsAPair()
    before = nodeNames(*VISIBLE)
    user.registers()
    assert nodeNames(*VISIBLE) - before == {
        "Baseline PET to Follow-up PET transform",
        "Baseline PET to Follow-up PET",
        "Baseline segments to Follow-up PET",
        "Baseline PET to Follow-up PET result",
    }
    assert user.ui.statusLabel.text.startswith("Done in")
    assert user.ui.applyButton.enabled
    assert not user.ui.progressBar.visible
    count = pair.baselineSegmentation.GetSegmentation().GetNumberOfSegments()
    assert user.ui.segmentsTable.rowCount >= count


def test_while_it_runs_progress_time_left_and_a_preview_are_shown(user):
    user.loadsAPair()
    user.choosesFast(LONG)
    user.ui.lossPlotCheckBox.checked = True
    user.clicks(user.ui.applyButton)
    assert user.ui.applyButton.text == "Cancel"
    user.waitsForIterations()
    assert user.ui.progressBar.visible
    assert f"of {LONG}" in user.ui.statusLabel.text
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 30)
    from MIRRBARegistrationLib import layout

    composite = layout.compositeNode(layout.OVERLAY)
    assert composite.GetForegroundVolumeID() == user.panel.run._preview.GetID()
    user.application.waitUntil(lambda: layout.plotViewNode().GetPlotChartNodeID() is not None, 10)
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()


def test_the_loss_plot_shows_the_whole_of_every_run(user):
    from MIRRBARegistrationLib import layout

    user.loadsAPair()
    user.ui.lossPlotCheckBox.checked = True
    for iterations in ("200", "100"):  # an event every quarter of a second
        user.registers(iterations)
        (plotView,) = user.application.layoutManager.plotViews.values()
        table = layout.plotViewNode().GetPlotChartNode().GetNthPlotSeriesNode(0).GetTableNode()
        (left, right), (bottom, top) = plotView.ranges()
        for name, lower, upper in (("Iteration", left, right), ("Loss", bottom, top)):
            values = slicer.util.arrayFromTableColumn(table, name)
            assert len(values) > 2
            assert (lower, upper) == (values.min(), values.max())


def test_the_loss_plot_s_axes_have_a_length_also_while_there_is_one_point(user):
    """Slicer's view cannot invert the scale of an axis from 1 to 1."""
    from MIRRBARegistrationLib.lossPlot import LossPlot

    for losses in ((1.0, 1.0, 1.0), (2.0, 1.5)):
        plot = LossPlot()
        for iteration, loss in enumerate(losses, 1):
            plot.add({"stage": "level 1", "iteration": iteration, "loss": loss})
            for lower, upper in (plot._chart.GetXAxisRange(), plot._chart.GetYAxisRange()):
                assert lower < upper


def test_the_progress_of_a_run_begins_at_nothing(user):
    user.loadsAPair()
    user.choosesFast(LONG)
    user.ui.progressBar.value = user.ui.progressBar.maximum
    user.clicks(user.ui.applyButton)
    assert user.ui.progressBar.value == 0


def test_stop_and_keep_makes_a_result_of_the_present_state(user):
    user.loadsAPair()
    user.startsALongRun()
    user.clicks(user.ui.keepButton)
    assert user.ui.statusLabel.text == "Keeping the present state…"
    assert not user.ui.keepButton.enabled
    user.waitsForTheEnd()
    assert user.ui.statusLabel.text.startswith("Stopped early, after 0:")
    assert user.parameters.result.GetName() == "Baseline PET to Follow-up PET result, stopped early"


def test_cancel_stops_the_child_and_leaves_the_scene_as_it_was(user):
    user.loadsAPair()
    user.choosesFast(LONG)
    user.ui.previewCheckBox.checked = False
    before = nodeNames(*VISIBLE)
    user.clicks(user.ui.applyButton)
    user.waitsForIterations()
    child = childOf(user)
    user.clicks(user.ui.applyButton)
    assert user.ui.applyButton.text == "Cancelling…"
    user.waitsForTheEnd()
    assert user.ui.statusLabel.text == "Cancelled; nothing was changed."
    assert nodeNames(*VISIBLE) == before
    assert not isAlive(child)
    assert user.ui.applyButton.text.startswith("Register")


def test_a_cancelled_preview_leaves_nothing_behind(user):
    user.loadsAPair()
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before


def test_a_preview_that_is_no_longer_wanted_goes_and_the_views_are_as_before(user):
    before = user.application.layoutManager.layout
    user.loadsAPair()
    user.choosesFast(LONG)
    user.clicks(user.ui.applyButton)
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    shown = user.application.layoutManager.layout
    assert shown != before
    user.ui.previewCheckBox.checked = False
    assert user.panel.run._preview is None
    assert user.application.layoutManager.layout == before
    user.ui.previewCheckBox.checked = True
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    assert user.application.layoutManager.layout == shown
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()


def test_another_layout_chosen_while_the_loss_is_plotted_stays(user):
    user.loadsAPair()
    user.ui.lossPlotCheckBox.checked = True
    user.ui.previewCheckBox.checked = False
    user.startsALongRun()
    manager = user.application.layoutManager
    reviewed, fourUp = manager.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    manager.layoutLogic().GetLayoutNode().SetViewArrangement(fourUp)
    user.ui.blendSlider.value = 0.3
    assert manager.layout == fourUp
    user.ui.lossPlotCheckBox.checked = False
    user.ui.lossPlotCheckBox.checked = True
    assert manager.layout == reviewed
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()


@pytest.mark.parametrize("end", ["cancel", "no preview"])
def test_a_preview_has_the_follow_up_s_outlines_and_gives_an_earlier_result_back(user, end):
    def drawn():
        return {
            name: slicer.util.getNode(name).GetDisplayNode().GetVisibility() != 0
            for name in ("Follow-up segments", "Baseline segments", "Warped segments")
        }

    pair = user.loadsAPair()
    user.getsAResult(pair)
    after, shown = drawn(), shownVolumes()
    assert after == {"Follow-up segments": True, "Baseline segments": False, "Warped segments": True}
    user.startsALongRun()
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    assert drawn() == {"Follow-up segments": True, "Baseline segments": False, "Warped segments": False}
    if end == "cancel":
        user.clicks(user.ui.applyButton)
        user.waitsForTheEnd()
    else:
        user.ui.previewCheckBox.checked = False
    assert drawn() == after
    assert shownVolumes() == shown


def test_outlines_of_a_first_preview_that_was_cancelled_are_as_the_user_had_them(user):
    pair = user.loadsAPair()
    displays = [node.GetDisplayNode() for node in (pair.baselineSegmentation, pair.followUpSegmentation)]

    def drawn():
        return [
            (d.GetVisibility(), d.GetVisibility2DFill(), d.GetSliceIntersectionThickness(), d.GetViewNodeIDs())
            for d in displays
        ]

    before = drawn()
    user.startsALongRun()
    user.application.waitUntil(lambda: user.panel.run._preview is not None, 60)
    assert drawn() != before
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    assert drawn() == before


def test_the_baseline_lies_under_the_new_transform_also_where_an_earlier_result_was_looked_at(user):
    pair = user.loadsAPair()
    user.getsAResult(pair, volume=False)
    earlier = user.parameters.result
    user.ui.volumeCheckBox.checked = False
    user.ui.previewCheckBox.checked = False  # the views belong to it
    user.startsALongRun()
    user.clicks(user.ui.beforeButton)
    user.clicks(user.ui.afterButton)
    assert pair.baselineVolume.GetParentTransformNode() is not None
    user.clicks(user.ui.keepButton)
    user.waitsForTheEnd()
    assert user.parameters.result is not earlier
    user.widget.exit()
    assert pair.baselineVolume.GetParentTransformNode().GetName() == "Baseline PET to Follow-up PET transform"


@pytest.mark.parametrize("end", ["cancel", "fail", "close"])
def test_a_run_that_comes_to_nothing_puts_the_baseline_back_under_its_transform(user, end):
    pair = user.loadsAPair()
    user.ui.volumeCheckBox.checked = False
    user.registers()
    transform = pair.baselineVolume.GetParentTransformNode()
    assert transform is not None
    child = user.startsALongRun()
    assert pair.baselineVolume.GetParentTransformNode() is None
    user.widget.exit()
    if end == "close":
        user.panel.run.close()
    else:
        user.clicks(user.ui.applyButton) if end == "cancel" else os.kill(child, 9)
        user.waitsForTheEnd()
    assert pair.baselineVolume.GetParentTransformNode() is transform


def test_a_baseline_that_only_the_review_put_under_a_transform_is_not_left_there(user):
    pair = user.loadsAPair()
    user.registers()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Baseline PET to Follow-up PET"))
    user.application.processEvents(50)
    user.panel.review.show()
    assert pair.baselineVolume.GetParentTransformNode() is not None
    user.startsALongRun()
    user.widget.exit()
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    assert pair.baselineVolume.GetParentTransformNode() is None


def test_a_failure_is_a_sentence_in_the_panel_and_no_box(user):
    user.loadsAPair()
    os.kill(user.startsALongRun(), 9)
    user.waitsForTheEnd()
    assert "The engine was killed" in user.ui.statusLabel.text
    assert len(user.ui.statusLabel.text.splitlines()) == 1
    assert not user.ui.logGroupBox.collapsed
    assert user.ui.logTextEdit.plainText.count("level 1") == 1
    assert user.ui.applyButton.enabled
    assert user.application.dialogs.messages == []


def test_the_log_can_be_copied(user):
    user.loadsAPair()
    user.registers()
    assert "level 1" in user.ui.logTextEdit.plainText
    user.ui.logGroupBox.collapsed = False
    user.clicks(user.ui.copyLogButton)
    assert slicer.app.clipboard().text() == user.ui.logTextEdit.plainText
    assert "Baseline PET" not in user.ui.logTextEdit.plainText


def test_two_runs_in_one_scene_give_two_results(user):
    user.loadsAPair()
    user.registers()
    first = user.parameters.result
    user.registers()
    assert user.parameters.result is not first
    user.ui.resultSelector.setCurrentNode(first)
    assert user.parameters.result is first
    assert user.ui.segmentsTable.rowCount == first.GetNumberOfRows()


def clock() -> float:
    """Seconds that this thread could have worked: without those in which it waited for a free core, on Linux."""
    waited = Path("/proc/thread-self/schedstat")
    return time.perf_counter() - (int(waited.read_text().split()[1]) / 1e9 if waited.exists() else 0.0)


def test_the_panel_never_blocks_for_long_while_a_registration_runs(user):
    """A timer of 1 ms that is late tells how long the main thread was busy with anything else."""
    import qt

    user.loadsAPair()
    user.choosesFast(LONG)
    user.ui.spacingLineEdit.text = "6"
    user.ui.lossPlotCheckBox.checked = True
    user.clicks(user.ui.applyButton)
    user.waitsForIterations()
    times = []
    timer = qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", lambda: times.append(clock()))
    timer.start()
    user.application.processEvents(10_000)  # two previews, and all the progress between
    timer.stop()
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    print(f"longest {1000 * max(gaps):.0f} ms of {len(gaps)}")
    assert max(gaps) < 0.1
