"""How it is computed: preset, device, and what is laid over the preset."""

from __future__ import annotations

import qt
from mirrba.presets import PRESETS
from slicer.i18n import tr as _

from .deviceQuery import Device, DeviceQuery

SETTINGS_GROUP = "MIRRBARegistration"
_POLL_MSEC = 200
_AUTO = "auto"


class MethodPanel:
    def __init__(self, ui) -> None:
        self._ui = ui
        self._parameters = None
        self._devices: list[Device] = []
        self._query: DeviceQuery | None = None
        self._isFilling = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MSEC)
        self._timer.connect("timeout()", self._onTimer)
        for name in PRESETS:
            ui.presetComboBox.addItem(name)
        self._fillDevices()
        ui.presetComboBox.connect("currentIndexChanged(int)", self._onPreset)
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._onDevice)

    def setParameters(self, parameters) -> None:
        self._parameters = parameters

    def update(self) -> None:
        self._isFilling = True
        self._ui.presetComboBox.setCurrentIndex(self._ui.presetComboBox.findText(self._parameters.preset))
        self._selectDevice(self._parameters.device)
        self._isFilling = False
        preset = PRESETS.get(self._parameters.preset)
        if preset is None:
            self._ui.presetLabel.text = _("This preset is not known to the installed version; choose another.")
            return
        self._ui.presetLabel.text = f"{preset.sentence} {self._duration(preset.cpu_seconds)}"
        self._ui.levelsLineEdit.placeholderText = str(preset.config.depth)
        self._ui.smoothLineEdit.placeholderText = f"{preset.config.smooth:g}"
        self._ui.iterationsLineEdit.placeholderText = _("as the preset, for the device")
        self._ui.spacingLineEdit.placeholderText = _("chosen for the device")

    def findDevices(self) -> None:
        """Ask for the devices in the background, once."""
        if self._query is None:
            self._query = DeviceQuery()
            self._timer.start()

    def close(self) -> None:
        """End what runs in the background."""
        self._timer.stop()
        if self._query is not None:
            self._query.close()

    def rememberDuration(self, config: dict, seconds: float) -> None:
        """So that the next user of this preset on this computer knows what to expect."""
        qt.QSettings().setValue(self._durationKey(config["preset"], config["device"]), seconds)
        self.update()

    def _duration(self, cpuSeconds: int | None) -> str:
        """How long it took here, or else where it was measured."""
        value = qt.QSettings().value(self._durationKey(self._parameters.preset, self._parameters.device))
        if value is not None:
            return _("Last time it took {duration} here.").format(duration=durationText(float(value)))
        if cpuSeconds is not None and self._resolved(self._parameters.device) == "cpu":
            return _("About {duration} on two processor cores.").format(duration=durationText(cpuSeconds))
        return _("Not timed on this computer yet.")

    def _durationKey(self, preset: str, device: str) -> str:
        return f"{SETTINGS_GROUP}/seconds/{preset}/{self._resolved(device)}"

    def _resolved(self, device: str) -> str:
        return self._devices[0].name if device == _AUTO and self._devices else device

    def _onTimer(self) -> None:
        if self._query.poll():
            self._timer.stop()
            self._devices = self._query.devices
            self._fillDevices()
            if self._parameters is not None:
                self.update()

    def _fillDevices(self) -> None:
        self._isFilling = True
        self._ui.deviceComboBox.clear()
        best = f" ({self._devices[0].label})" if self._devices else ""
        self._ui.deviceComboBox.addItem(_("Automatic") + best, _AUTO)
        for device in self._devices:
            self._ui.deviceComboBox.addItem(_deviceText(device), device.name)
        self._isFilling = False

    def _selectDevice(self, name: str) -> None:
        index = self._ui.deviceComboBox.findData(name)
        if index < 0:  # chosen on another computer, or the devices are not known yet
            self._ui.deviceComboBox.addItem(name, name)
            index = self._ui.deviceComboBox.count - 1
        self._ui.deviceComboBox.setCurrentIndex(index)

    def _onPreset(self, index: int) -> None:
        if not self._isFilling and self._parameters is not None and index >= 0:
            self._parameters.preset = self._ui.presetComboBox.itemText(index)

    def _onDevice(self, index: int) -> None:
        if not self._isFilling and self._parameters is not None and index >= 0:
            self._parameters.device = self._ui.deviceComboBox.itemData(index)


def durationText(seconds: float) -> str:
    """1:05 for 65 seconds, 0:07 for 7."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _deviceText(device: Device) -> str:
    if device.freeMb is None:
        return device.label
    return _("{device}, {memory:.1f} GB free").format(device=device.label, memory=device.freeMb / 1024)
