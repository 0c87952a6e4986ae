"""One baseline to several follow-ups, in the panel."""

import slicer
from panel_user import LONG, nodeNames, shownVolumes


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
    items = [user.ui.queueList.item(k) for k in range(2)]
    assert [item.text() for item in items] == ["Follow-up PET: done", "Second follow-up: done"]
    assert [item.toolTip() for item in items] == [item.text() for item in items]  # what is too long for the list
    assert {"Baseline segments to Follow-up PET", "Baseline segments to Second follow-up"} <= nodeNames(
        "vtkMRMLSegmentationNode"
    )


def test_what_is_wrong_is_on_the_button_where_it_fits_and_else_in_its_tool_tip(user):
    import qt

    button = user.ui.propagateButton
    pair = user.loadsAPair()
    assert button.text == button.toolTip == "Check at least one follow-up volume"
    user.ui.followUpsComboBox.setCheckState(pair.followUpVolume, qt.Qt.Checked)
    assert button.text == "Propagate"
    assert button.toolTip.startswith("Register the baseline onto each")
    shear(pair.followUpVolume)
    user.panel.update()
    assert button.text == "Cannot propagate yet"
    assert "not at right angles; resample it first" in button.toolTip
    assert not button.enabled


def shear(volume) -> None:
    volume.SetIJKToRASDirections(1, 0.3, 0, 0, 1, 0, 0, 0, 1)


def test_after_a_propagation_the_follow_up_is_shown_alone_with_its_segments(user):
    """There is no warped baseline: the unwarped one would look like a registration that failed."""
    import qt

    pair = user.loadsAPair()
    user.ui.propagateCollapsibleButton.collapsed = False
    user.choosesFast()
    user.ui.followUpsComboBox.setCheckState(pair.followUpVolume, qt.Qt.Checked)
    user.clicks(user.ui.propagateButton)
    user.waitsForTheEnd()
    assert shownVolumes() == [("Follow-up PET", None), ("Follow-up PET", None), ("Follow-up PET", None)]
    assert slicer.util.getNode("Baseline segments to Follow-up PET").GetDisplayNode().GetVisibility()
    user.clicks(user.ui.beforeButton)
    assert shownVolumes() == [("Follow-up PET", None), ("Baseline PET", None), ("Follow-up PET", "Baseline PET")]


def test_looking_at_a_result_meanwhile_does_not_move_what_waits(user):
    import qt

    pair = user.loadsAPair()
    second = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair.followUpVolume, "Second follow-up")
    user.getsAResult(pair, volume=False)
    user.ui.inputsCollapsibleButton.collapsed = False
    user.ui.propagateCollapsibleButton.collapsed = False
    user.choosesFast()
    for volume in (pair.followUpVolume, second):
        user.ui.followUpsComboBox.setCheckState(volume, qt.Qt.Checked)
    earlier, underTransform = user.parameters.result, []
    showTask = user.panel.propagate.showTask

    def look(task):
        underTransform.append((task.state.value, pair.baselineVolume.GetParentTransformNode() is not None))
        if task.state.value == "done":
            user.parameters.result = earlier
            user.clicks(user.ui.beforeButton)
            user.clicks(user.ui.afterButton)
            underTransform.append(("looking", pair.baselineVolume.GetParentTransformNode() is not None))
        showTask(task)

    user.panel.propagate.showTask = look
    user.clicks(user.ui.propagateButton)
    user.waitsForTheEnd(180)
    once = [("running", False), ("done", False), ("looking", True)]
    assert underTransform == 2 * once


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
