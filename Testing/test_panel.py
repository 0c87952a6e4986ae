"""The module's panel, clicked as a user would, on the stand-in for the application: real MRML, real child processes."""

import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slicer
from conftest import qtStarts

MODULE_FILE = Path(__file__).parents[1] / "MIRRBARegistration" / "MIRRBARegistration.py"
LONG = "100000"
"""Iterations that outlast any test."""


class User:
    """Somebody in front of the panel."""

    def __init__(self, application, pairFolder: Path) -> None:
        self.application = application
        self._pairFolder = pairFolder
        self.widget = application.loadModule(MODULE_FILE)
        application.mainWindow.show()
        self.ui = self.widget.ui

    @property
    def panel(self):
        return self.widget.panel

    @property
    def parameters(self):
        return self.panel.parameters

    def loadsAPair(self):
        from MIRRBARegistrationLib.sampleData import loadPair

        pair = loadPair(self._pairFolder)
        self.application.processEvents(50)
        return pair

    @property
    def reads(self) -> str:
        """On the button, and below it."""
        return f"{self.ui.applyButton.text} {self.ui.statusLabel.text}"

    def choosesFast(self, iterations="10") -> None:
        """The quickest that is a registration: on the processor, a few iterations."""
        self.ui.presetComboBox.setCurrentIndex(self.ui.presetComboBox.findText("mirrba-level-1"))
        self.ui.iterationsLineEdit.text = f"{iterations},1,1"
        self.ui.spacingLineEdit.text = "16"

    def clicks(self, button) -> None:
        assert button.enabled, button.text
        assert button.visible, button.text
        button.click()

    def waitsForTheEnd(self, seconds=120) -> None:
        self.application.waitUntil(lambda: self.panel.run.queue is None, seconds)
        self.application.processEvents(50)

    def waitsForIterations(self) -> None:
        self.application.waitUntil(lambda: "iteration" in self.ui.statusLabel.text, 60)

    def startsALongRun(self) -> int:
        """The process that registers, once it iterates; it does not end by itself."""
        self.choosesFast(LONG)
        self.clicks(self.ui.applyButton)
        self.waitsForIterations()
        return childOf(self)

    def registers(self, iterations="10") -> None:
        self.choosesFast(iterations)
        self.clicks(self.ui.applyButton)
        self.waitsForTheEnd()


class AnsweredQuery:
    """The devices at once: asking for them loads torch in another process, which takes seconds."""

    isOver = True

    def __init__(self) -> None:
        from MIRRBARegistrationLib.deviceQuery import Device

        self.devices = [Device("cpu", "CPU, 2 threads", 4096)]

    def poll(self) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.fixture
def user(slicerApplication, pair_folder, monkeypatch):
    monkeypatch.setattr("MIRRBARegistrationLib.deviceQuery.DeviceQuery", AnsweredQuery)
    return User(slicerApplication, pair_folder)


def childOf(user) -> int:
    return user.panel.run.queue.current.job._job._process.pid


def isAlive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def nodeNames(*classNames) -> set[str]:
    """Of the nodes that a user sees."""
    nodes = [node for name in classNames for node in slicer.util.getNodesByClass(name)]
    return {node.GetName() for node in nodes if not node.GetHideFromEditors()}


VISIBLE = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTransformNode", "vtkMRMLTableNode")


# Inputs


def test_an_empty_scene_says_what_is_missing_and_offers_a_sample(user):
    assert not user.ui.applyButton.enabled
    assert user.ui.applyButton.text == "Select a follow-up PET (fixed)"
    assert user.ui.sampleDataButton.visible
    assert not user.ui.reviewCollapsibleButton.checked


def test_the_sample_pair_is_there_after_one_click_and_guessed(user):
    user.clicks(user.ui.sampleDataButton)
    user.application.processEvents(50)
    assert user.ui.fixedVolumeSelector.currentNode().GetName() == "Follow-up PET"
    assert user.ui.movingVolumeSelector.currentNode().GetName() == "Baseline PET"
    assert user.ui.movingSegmentationSelector.currentNode().GetName() == "Baseline segments"
    assert user.ui.applyButton.enabled
    assert user.ui.applyButton.text == "Register Baseline PET onto Follow-up PET"
    assert not user.ui.sampleDataButton.visible


def test_while_the_sample_pair_is_made_its_button_says_so(user, monkeypatch):
    seen, button = [], user.ui.sampleDataButton
    text = button.text
    monkeypatch.setattr(user.panel.input, "_makeSamplePair", lambda: seen.append((button.text, button.enabled)))
    user.clicks(button)
    assert seen == [("Making the pair…", False)]
    assert (button.text, button.enabled) == (text, True)


def test_a_removed_node_is_not_replaced_by_its_neighbour_in_the_list(user):
    pair = user.loadsAPair()
    others = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name) for name in ("T1", "T2")]
    user.ui.transformSelector.setCurrentNode(others[0])
    for selector, node in (
        (user.ui.movingSegmentationSelector, pair.baselineSegmentation),
        (user.ui.transformSelector, others[0]),
        (user.ui.movingVolumeSelector, pair.baselineVolume),
    ):
        assert selector.currentNode() is node
        slicer.mrmlScene.RemoveNode(node)
        user.application.processEvents(50)
        assert selector.currentNode() is None
    assert user.parameters.movingSegmentation is None
    assert user.parameters.outputTransform is None
    assert user.parameters.fixedVolume is pair.followUpVolume
    assert user.ui.applyButton.text == "Select a baseline PET (moving)"


def test_a_removed_follow_up_is_no_longer_checked(user):
    import qt

    pair = user.loadsAPair()
    for volume in (pair.followUpVolume, pair.baselineVolume):
        user.ui.followUpsComboBox.setCheckState(volume, qt.Qt.Checked)
    slicer.mrmlScene.RemoveNode(pair.followUpVolume)
    user.application.processEvents(50)
    assert list(user.parameters.followUps) == [pair.baselineVolume]


def test_every_node_that_can_be_chosen_is_forgotten_when_it_is_removed():
    text = (MODULE_FILE.parent / "MIRRBARegistrationLib" / "parameters.py").read_text(encoding="utf-8")
    chosen = re.findall(r"^    (\w+): slicer\.vtkMRML", text, re.MULTILINE)
    assert len(chosen) > 5
    assert re.findall(r'^    "(\w+)",$', text[text.index("_NODES = (") :], re.MULTILINE) == chosen


def test_no_letter_of_the_panel_is_one_of_slicer_s_menus():
    """Alt and a letter: File, Edit, View and Help are the main window's."""
    text = (MODULE_FILE.parent / "Resources" / "UI" / "MIRRBARegistration.ui").read_text(encoding="utf-8")
    letters = [letter.lower() for letter in re.findall(r"&amp;(\w)", text)]
    assert len(letters) > 10
    assert not set(letters) & set("fevh")
    assert len(letters) == len(set(letters))


def test_swap_exchanges_volumes_and_segmentations(user):
    pair = user.loadsAPair()
    user.clicks(user.ui.swapButton)
    assert user.ui.fixedVolumeSelector.currentNode() is pair.baselineVolume
    assert user.ui.movingVolumeSelector.currentNode() is pair.followUpVolume
    assert user.ui.movingSegmentationSelector.currentNode() is pair.followUpSegmentation
    assert user.ui.fixedSegmentationSelector.currentNode() is pair.baselineSegmentation


def test_segments_can_be_left_out_by_a_click(user):
    pair = user.loadsAPair()
    items = [user.ui.segmentsList.item(row) for row in range(user.ui.segmentsList.count)]
    assert len(items) == pair.baselineSegmentation.GetSegmentation().GetNumberOfSegments()
    import qt

    for item in items:
        if item.text() != "brain":
            item.setCheckState(qt.Qt.Unchecked)
    user.registers()
    (segmentation,) = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if " to " in n.GetName()]
    kept = segmentation.GetSegmentation()
    assert [kept.GetNthSegment(k).GetName() for k in range(kept.GetNumberOfSegments())] == ["brain"]


def test_the_panel_does_not_grow_wider_with_what_it_lists(user):
    """Slicer's panel is as wide as its module wants."""
    width = user.widget.parent.sizeHint.width()
    user.loadsAPair()
    assert user.ui.segmentsList.visible
    assert user.widget.parent.sizeHint.width() == width
    user.ui.reviewCollapsibleButton.collapsed = False
    user.application.processEvents(20)
    assert user.widget.parent.sizeHint.width() == width


def test_a_renamed_or_removed_segment_is_seen_at_once(user):
    pair = user.loadsAPair()
    segmentation = pair.baselineSegmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetNthSegmentID(0)).SetName("renamed")
    assert user.ui.segmentsList.item(0).text() == "renamed"
    segmentation.RemoveSegment(segmentation.GetNthSegmentID(0))
    assert user.ui.segmentsList.item(0).text() != "renamed"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ui: setattr(ui.iterationsLineEdit, "text", "many"), "Setting 'iterations' cannot be 'many'"),
        (lambda ui: setattr(ui.spacingLineEdit, "text", "-3"), "Setting 'spacing'"),
        (lambda ui: setattr(ui.levelsLineEdit, "text", "9"), "Setting 'depth'"),
        (lambda ui: ui.fixedVolumeSelector.setCurrentNode(None), "Select a follow-up PET (fixed)"),
        (lambda ui: ui.movingVolumeSelector.setCurrentNode(None), "Select a baseline PET (moving)"),
        (lambda ui: ui.movingVolumeSelector.setCurrentNode(ui.fixedVolumeSelector.currentNode()), "same volume"),
    ],
)
def test_the_button_says_what_is_wrong_before_it_is_pressed(user, change, sentence):
    user.loadsAPair()
    change(user.ui)
    assert sentence in user.reads
    assert not user.ui.applyButton.enabled


def test_without_any_output_there_is_nothing_to_do(user):
    user.loadsAPair()
    for checkBox in (user.ui.transformCheckBox, user.ui.volumeCheckBox, user.ui.segmentationCheckBox):
        checkBox.checked = False
    assert not user.ui.applyButton.enabled
    assert "Nothing would come out" in user.reads


# A run


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
    for iterations in ("60", "30"):
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

    plot = LossPlot()
    for losses in ((1.0, 1.0, 1.0), (2.0, 1.5)):
        plot.clear()
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
    assert user.ui.statusLabel.text.startswith("Done in")
    assert user.parameters.result is not None


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


# Safety


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


# Review


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


@pytest.fixture
def reviewer(user):
    user.loadsAPair()
    user.registers()
    return user


def overlayLayers():
    from MIRRBARegistrationLib import layout

    composite = layout.compositeNode(layout.OVERLAY)
    return [
        node.GetName() if node is not None else None
        for node in (
            slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or ""),
            slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or ""),
        )
    ]


def shownVolumes():
    """Background and foreground of the three views, by name."""
    from MIRRBARegistrationLib import layout

    composites = [layout.compositeNode(tag) for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)]
    layers = [(composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) for composite in composites]
    return [tuple(nodeID and slicer.mrmlScene.GetNodeByID(nodeID).GetName() for nodeID in pair) for pair in layers]


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


# Propagation


def test_one_baseline_is_propagated_to_several_follow_ups(user):
    import qt

    pair = user.loadsAPair()
    second = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.followUpVolume, "Second follow-up")
    user.application.processEvents(20)
    assert user.ui.propagateButton.text == "Check at least one follow-up volume"
    user.ui.propagateCollapsibleButton.collapsed = False
    user.choosesFast()
    for volume in (pair.followUpVolume, second):
        user.ui.followUpsComboBox.setCheckState(volume, qt.Qt.Checked)
    assert user.ui.propagateButton.text == "Propagate to 2 follow-ups"
    begun = []
    showTask = user.panel.propagate.showTask

    def record(task):
        if task.state.value == "running":
            begun.append(user.ui.progressBar.value)
        showTask(task)

    user.panel.propagate.showTask = record
    user.clicks(user.ui.propagateButton)
    assert "running" in user.ui.queueList.item(0).text() or "waiting" in user.ui.queueList.item(0).text()
    user.waitsForTheEnd(180)
    assert begun == [0, 0]
    assert [user.ui.queueList.item(k).text() for k in range(2)] == ["Follow-up PET: done", "Second follow-up: done"]
    assert {"Baseline segments to Follow-up PET", "Baseline segments to Second follow-up"} <= nodeNames(
        "vtkMRMLSegmentationNode"
    )


def test_after_a_propagation_the_follow_up_is_shown_alone_with_its_segments(user):
    """There is no warped baseline: the unwarped one would look like a registration that failed."""
    import qt

    pair = user.loadsAPair()
    user.ui.propagateCollapsibleButton.collapsed = False
    user.choosesFast()
    user.ui.followUpsComboBox.setCheckState(pair.followUpVolume, qt.Qt.Checked)
    user.clicks(user.ui.propagateButton)
    user.waitsForTheEnd()
    assert shownVolumes() == [("Follow-up PET", None), (None, None), ("Follow-up PET", None)]
    assert slicer.util.getNode("Baseline segments to Follow-up PET").GetDisplayNode().GetVisibility()
    user.clicks(user.ui.beforeButton)
    assert shownVolumes() == [("Follow-up PET", None), ("Baseline PET", None), ("Follow-up PET", "Baseline PET")]


def test_cancelling_a_propagation_drops_what_waits(user):
    import qt

    pair = user.loadsAPair()
    second = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.followUpVolume, "Second follow-up")
    user.application.processEvents(20)
    user.ui.propagateCollapsibleButton.collapsed = False
    user.choosesFast(LONG)
    for volume in (pair.followUpVolume, second):
        user.ui.followUpsComboBox.setCheckState(volume, qt.Qt.Checked)
    user.clicks(user.ui.propagateButton)
    user.waitsForIterations()
    user.clicks(user.ui.applyButton)
    user.waitsForTheEnd()
    assert [user.ui.queueList.item(k).text().split(": ")[1] for k in range(2)] == ["cancelled", "cancelled"]


# Settings, engine, sample data


def test_choices_are_kept_with_the_scene(user, tmp_path):
    pair = user.loadsAPair()
    user.choosesFast("7")
    user.ui.seedSpinBox.value = 5
    user.ui.transformCheckBox.checked = False
    user.ui.lossPlotCheckBox.checked = True
    user.ui.blendSlider.value = 0.4
    orientations = user.ui.orientationComboBox
    orientations.setCurrentIndex(orientations.findText("Sagittal"))
    user.application.headless.writeBundle(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear()
    user.application.processEvents(20)
    assert user.ui.iterationsLineEdit.text == ""
    user.application.headless.readBundle(tmp_path / "scene.mrb")
    user.application.processEvents(50)
    assert user.ui.presetComboBox.currentText == "mirrba-level-1"
    assert user.ui.iterationsLineEdit.text == "7,1,1"
    assert user.ui.seedSpinBox.value == 5
    assert not user.ui.transformCheckBox.checked
    assert user.ui.lossPlotCheckBox.checked
    assert user.ui.blendSlider.value == pytest.approx(0.4)
    assert orientations.currentText == "Sagittal"
    assert user.ui.fixedVolumeSelector.currentNode().GetName() == pair.followUpVolume.GetName()


def test_a_scene_with_an_unknown_preset_and_device_does_not_break_the_panel(user):
    user.loadsAPair()
    user.parameters.preset = "of another version"
    user.parameters.device = "cuda:7"
    assert "There is no preset 'of another version'" in user.reads
    assert user.ui.deviceComboBox.currentText == "cuda:7"
    user.ui.presetComboBox.setCurrentIndex(0)
    assert user.ui.applyButton.enabled


@pytest.mark.parametrize("hasInstaller", [True, False])
def test_without_torch_the_panel_says_how_to_get_it(slicerApplication, pair_folder, monkeypatch, hasInstaller):
    monkeypatch.setattr("MIRRBARegistrationLib.deviceQuery.DeviceQuery", AnsweredQuery)
    slicerApplication.packaging.missing = {"torch"}
    if not hasInstaller:
        monkeypatch.delattr(slicer.modules, "pytorchutils")
    user = User(slicerApplication, pair_folder)
    user.loadsAPair()
    assert user.ui.engineFrame.visible
    assert user.ui.installButton.visible == hasInstaller
    assert ("Extensions Manager" in user.ui.engineLabel.text) == (not hasInstaller)
    assert user.ui.applyButton.text == "Install PyTorch first"
    assert not user.ui.applyButton.enabled
    assert slicerApplication.installedTorch == []


def test_torch_is_installed_when_the_user_asks_and_agrees(slicerApplication, pair_folder, monkeypatch):
    monkeypatch.setattr("MIRRBARegistrationLib.deviceQuery.DeviceQuery", AnsweredQuery)
    slicerApplication.packaging.missing = {"torch"}
    user = User(slicerApplication, pair_folder)
    user.loadsAPair()
    slicerApplication.dialogs.answer = "cancel"
    user.clicks(user.ui.installButton)
    assert slicerApplication.installedTorch == []
    slicerApplication.dialogs.answer = "ok"
    slicerApplication.packaging.missing = set()
    user.clicks(user.ui.installButton)
    assert slicerApplication.installedTorch == [">=2.4"]
    assert not user.ui.engineFrame.visible
    assert user.ui.applyButton.enabled


def test_the_devices_are_named(slicerApplication, pair_folder):
    user = User(slicerApplication, pair_folder)
    user.application.waitUntil(lambda: user.ui.deviceComboBox.count > 1, 60)
    texts = [user.ui.deviceComboBox.itemText(k) for k in range(user.ui.deviceComboBox.count)]
    assert any("CPU" in text and "GB free" in text for text in texts)
    assert texts[0].startswith("Automatic (")


def test_the_preset_says_what_it_does_and_then_how_long_it_took(user):
    user.loadsAPair()
    user.choosesFast()
    assert "stop after the coarsest" in user.ui.presetLabel.text
    assert "Not timed" in user.ui.presetLabel.text
    user.registers()
    assert "Last time it took 0:" in user.ui.presetLabel.text


def test_slicers_own_process_never_loads_torch():
    script = (
        f"import sys; sys.path[:0] = [{str(MODULE_FILE.parent)!r}, {str(Path(__file__).parent)!r}];"
        "from standin import SlicerApplication\n"
        "with SlicerApplication() as application:\n"
        f"    widget = application.loadModule({str(MODULE_FILE)!r})\n"
        "    application.waitUntil(lambda: widget.ui.deviceComboBox.count > 1, 60)\n"
        "    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
