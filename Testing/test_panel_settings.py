"""Choices kept with the scene, the engine's installation, devices and presets in the panel."""

import subprocess
import sys
from pathlib import Path

import pytest
import slicer
from panel_user import MODULE_FILE, AnsweredQuery, User


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
