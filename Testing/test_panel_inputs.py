"""What the panel says of the scene and of what is chosen, before anything runs."""

import gc
import re
import xml.etree.ElementTree as ElementTree

import pytest
import slicer
import vtk
from panel_user import MODULE_FILE


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


def test_every_letter_leads_to_a_widget_that_takes_the_keyboard():
    """Slicer's node selectors take no focus, and their boxes hand theirs on to them."""
    root = ElementTree.parse(MODULE_FILE.parent / "Resources" / "UI" / "MIRRBARegistration.ui").getroot()
    classes = {widget.get("name"): widget.get("class") for widget in root.iter("widget")}
    for label in root.iter("widget"):
        texts = {prop.get("name"): prop.findtext("*") for prop in label.findall("property")}
        if label.get("class") == "QLabel" and "&" in (texts.get("text") or ""):
            assert "NodeComboBox" not in classes[texts["buddy"]], texts["text"]


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


def test_all_segments_are_checked_or_unchecked_from_the_list_s_menu(user):
    import qt

    user.loadsAPair()
    segmentsList = user.ui.segmentsList
    assert segmentsList.contextMenuPolicy == qt.Qt.ActionsContextMenu
    actions = {action.text: action for action in segmentsList.actions()}

    def states() -> set:
        return {segmentsList.item(row).checkState() for row in range(segmentsList.count)}

    actions["Uncheck all"].trigger()
    assert states() == {qt.Qt.Unchecked}
    assert len(user.parameters.leftOutSegments) == segmentsList.count
    assert "Check at least one segment" in user.reads
    actions["Check all"].trigger()
    assert states() == {qt.Qt.Checked}
    assert list(user.parameters.leftOutSegments) == []


def test_the_panel_does_not_grow_wider_with_what_it_lists(user):
    """Slicer's panel is as wide as its module wants."""
    width = user.widget.parent.sizeHint.width()
    user.loadsAPair()
    assert user.ui.segmentsList.visible
    assert user.widget.parent.sizeHint.width() == width
    user.ui.reviewCollapsibleButton.collapsed = False
    user.application.processEvents(20)
    assert user.widget.parent.sizeHint.width() == width


@pytest.mark.parametrize(
    "name", ["20260413_PETCT_WB_AC_3D_OSEM_visit_3_of_4_reconstructed_with_PSF_and_TOF", "n" * 100]
)
def test_the_panel_does_not_grow_wider_with_a_sentence_on_what_is_wrong(user, name):
    """Nor is a part of a long name hidden: it goes on in the next line."""
    pair = user.loadsAPair()
    widths = (user.widget.parent.sizeHint.width(), user.widget.parent.minimumSizeHint.width())
    pair.baselineVolume.SetName(name)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    pair.baselineVolume.SetAndObserveTransformNodeID(transform.GetID())
    user.ui.initialTransformSelector.setCurrentNode(transform)
    assert f"'{name}' already moves" in user.ui.statusLabel.text.replace("\u200b", "")
    user.application.processEvents(20)
    assert (user.widget.parent.sizeHint.width(), user.widget.parent.minimumSizeHint.width()) == widths
    assert max(map(len, re.split(r"[\s\u200b]", user.ui.statusLabel.text))) <= 24


def test_a_renamed_or_removed_segment_is_seen_at_once(user):
    pair = user.loadsAPair()
    segmentation = pair.baselineSegmentation.GetSegmentation()
    segmentation.GetSegment(segmentation.GetNthSegmentID(0)).SetName("renamed")
    assert user.ui.segmentsList.item(0).text() == "renamed"
    segmentation.RemoveSegment(segmentation.GetNthSegmentID(0))
    assert user.ui.segmentsList.item(0).text() != "renamed"


def nineLevels(ui):
    ui.presetComboBox.setCurrentIndex(ui.presetComboBox.findText("mirrba"))
    ui.levelsLineEdit.text = "9"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ui: setattr(ui.iterationsLineEdit, "text", "many"), "Advanced › Iterations cannot be 'many'"),
        (lambda ui: setattr(ui.spacingLineEdit, "text", "-3"), "Advanced › Working grid (mm) cannot be"),
        (lambda ui: setattr(ui.levelsLineEdit, "text", "9"), "Advanced › Levels is the network's"),
        (nineLevels, "Advanced › Levels cannot be"),
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


@pytest.mark.parametrize("name", ["movingSegmentation", "fixedSegmentation", "movingVolume"])
def test_the_button_sees_at_once_that_a_node_is_put_under_a_transform_and_taken_out(user, name):
    user.loadsAPair()
    node = getattr(user.parameters, name)
    bend = bending()
    node.SetAndObserveTransformNodeID(bend.GetID())
    assert f"'{node.GetName()}' lies under a non-linear transform; take it out of 'bend'" in user.reads
    assert not user.ui.applyButton.enabled
    node.SetAndObserveTransformNodeID(None)
    assert user.ui.applyButton.enabled
    assert user.ui.statusLabel.text == ""


def test_the_button_no_longer_watches_a_node_that_is_not_chosen(user):
    pair = user.loadsAPair()
    user.ui.fixedSegmentationSelector.setCurrentNode(None)
    pair.followUpSegmentation.SetAndObserveTransformNodeID(bending().GetID())
    assert user.ui.applyButton.enabled
    user.ui.fixedSegmentationSelector.setCurrentNode(pair.followUpSegmentation)
    assert not user.ui.applyButton.enabled


def test_nothing_is_kept_of_a_node_that_was_chosen_and_removed(user):
    pair = user.loadsAPair()
    references = []
    for name in ("followUpVolume", "baselineVolume", "baselineSegmentation", "followUpSegmentation"):
        reference = vtk.vtkWeakReference()
        reference.Set(getattr(pair, name))
        references.append(reference)
        slicer.mrmlScene.RemoveNode(getattr(pair, name))
    del pair
    user.application.processEvents(50)
    gc.collect()
    assert [reference.Get() for reference in references] == [None] * 4


def bending():
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    for points in (transform.SetSourceLandmarks, transform.SetTargetLandmarks):
        points(vtk.vtkPoints())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(transform)
    return node


def test_without_any_output_there_is_nothing_to_do(user):
    user.loadsAPair()
    for checkBox in (user.ui.transformCheckBox, user.ui.volumeCheckBox, user.ui.segmentationCheckBox):
        checkBox.checked = False
    assert not user.ui.applyButton.enabled
    assert "Nothing would come out" in user.reads
