"""What the views looked like before a registration was shown in them, to be given back."""

from __future__ import annotations

import slicer

from . import layout


class ViewMemory:
    def __init__(self) -> None:
        self._displays: dict[str, tuple] = {}
        self._arrangement: int | None = None
        self._arrangementAtClose: int | None = None

    def remember(self, *volumeNodes) -> None:
        """Colours and windows as they are now, unless they are remembered already."""
        for node in volumeNodes:
            display = node.GetDisplayNode() if node is not None else None
            if display is not None and display.GetID() not in self._displays:
                self._displays[display.GetID()] = (
                    display.GetColorNodeID(),
                    display.GetAutoWindowLevel(),
                    display.GetWindowLevelMin(),
                    display.GetWindowLevelMax(),
                )

    def rememberLayout(self) -> None:
        """The application's layout, unless it is the review layout already."""
        arrangement = layout.arrangement()
        if arrangement is not None and not layout.isShown():
            self._arrangement = self._arrangementAtClose = arrangement

    def giveBackDisplays(self) -> None:
        for displayID, (colorNodeID, isAuto, lower, upper) in self._displays.items():
            display = slicer.mrmlScene.GetNodeByID(displayID)
            if display is None:
                continue
            with slicer.util.NodeModify(display):
                display.SetAndObserveColorNodeID(colorNodeID)
                display.SetAutoWindowLevel(isAuto)
                display.SetWindowLevelMinMax(lower, upper)
        self._displays = {}

    def giveBackLayout(self) -> None:
        """Only if the review layout is still the one that is shown."""
        if self._arrangement is not None and layout.isShown():
            layout.setArrangement(self._arrangement)
        self._arrangement = None

    def forgetLayout(self) -> None:
        """The user has a result to look at: the review layout stays while the scene does."""
        self._arrangement = None

    def closeScene(self) -> None:
        """The next scene is shown in the user's own layout; its nodes may get the identifiers of those remembered."""
        self._arrangement = self._arrangementAtClose
        self.giveBackLayout()
        self._arrangementAtClose = None
        self._displays = {}
