"""Choices kept with the scene, the engine's installation, devices and presets in the panel."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from hostile import body
from mirrba import deformation, images, initialise, ladder, presets, transforms
from mirrba.errors import MirrbaError
from mirrba.images import Prepared
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


# Settings in the engine's sentences


def pairApart(millimetres: float) -> list[Prepared]:
    other = body()
    other.SetOrigin((millimetres, 0.0, 0.0))
    return [Prepared.of(image, "PET") for image in (body(), other)]


def withoutOverlap():
    images.body_box(*pairApart(3000), sitk.Transform(3, sitk.sitkIdentity))


def withAThinOverlap():
    pair = pairApart(308)
    images.working_pair(*pair, sitk.Transform(3, sitk.sitkIdentity), images.Geometry.from_image(pair[0].image))


def withoutAnAlignment():
    tooThin = body(size=(3, 3, 3))  # for ITK's filters
    initialise._descend([tooThin, tooThin], sitk.Euler3DTransform(), 8.0, [1])


def withoutMemory(**settings):
    config = presets.resolve("fast", device="cpu", **settings)
    raise deformation._out_of_memory(ladder.first(deformation.devices.choose("cpu")), config)


@pytest.mark.parametrize(
    ("fail", "inThePanel"),
    [
        (withoutOverlap, "start with Advanced › Initialisation: Centre of mass or Affine, which first"),
        (withAThinOverlap, "or set another initialisation or a finer working grid."),
        (withoutAnAlignment, "start with Advanced › Initialisation: Centre of mass or None."),
        (withoutMemory, "or set a working grid coarser."),
        (lambda: withoutMemory(spacing=6), "or set a working grid coarser than 6 mm."),
        (lambda: presets.resolve("mirrba", depth=9), "Advanced › Levels cannot be 9; it takes 1 to 4."),
        (lambda: presets.resolve("default", smooth=2), "Advanced › Smoothness λ is the network's"),
        (lambda: presets.resolve("mirrba", iterations="many"), "Advanced › Iterations cannot be 'many'"),
        (lambda: presets.resolve(spacing="0"), "Advanced › Working grid (mm) cannot be 0.0"),
    ],
)
def test_the_engine_s_sentences_name_settings_as_the_panel_does(user, fail, inThePanel):
    from MIRRBARegistrationLib.settingNames import inPanelsWords

    with pytest.raises(MirrbaError) as failure:
        fail()
    sentence = inPanelsWords(str(failure.value))
    assert inThePanel in sentence
    assert not re.search(r"\binit\b|spacing|Setting '", sentence)


def test_a_warning_names_settings_as_the_panel_does(user, caplog):
    from MIRRBARegistrationLib.settingNames import inPanelsWords

    transforms._widths(np.full((8, 8, 8, 3), 40.0), images.Geometry.from_image(body(size=(8, 8, 8))))
    (warning,) = caplog.messages
    assert inPanelsWords(warning).endswith("start with Advanced › Initialisation: Affine or Centre of mass.")


def test_settings_are_called_in_sentences_as_they_are_on_their_labels(user):
    from MIRRBARegistrationLib import settingNames

    names = {
        name: settingNames.inPanelsWords(f"Setting '{name}'") for name in ("depth", "iterations", "smooth", "spacing")
    }
    labels = (user.ui.levelsLabel, user.ui.iterationsLabel, user.ui.smoothLabel, user.ui.spacingLabel)
    assert [f"Advanced › {label.text}" for label in labels] == [f"{name}:" for name in names.values()]
    assert user.ui.initialisationLabel.text == "Initialisation:"


def test_a_run_that_fails_for_a_setting_names_it_as_the_panel_does(user):
    pair = user.loadsAPair()
    pair.baselineVolume.SetOrigin(3000, 0, 0)
    user.ui.movingSegmentationSelector.setCurrentNode(None)
    user.registers()
    assert "start with Advanced › Initialisation: Centre of mass or Affine" in user.ui.statusLabel.text
