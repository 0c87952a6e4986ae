"""Whether the engine can run: PyTorch comes through the PyTorch extension, when the user asks for it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

REQUESTER = "MIRRBA"
_EXTENSION_HELP = '<a href="https://github.com/fepegar/SlicerPyTorch">PyTorch</a>'  # the extension's page


def isEngineReady(requirementsPath: str) -> bool:
    """Whether the requirements are installed, by their metadata: nothing is imported."""
    import slicer.packaging

    return slicer.packaging.pip_check(slicer.packaging.load_requirements(requirementsPath))


class EnginePanel:
    """The notice at the top of the panel; hidden where nothing is missing."""

    def __init__(self, ui, requirementsPath: str, onReady: Callable[[], None]) -> None:
        self._ui = ui
        self._requirementsPath = requirementsPath
        self._onReady = onReady
        self.isReady = False
        ui.installButton.connect("clicked()", self.install)

    def update(self) -> None:
        """Look again."""
        wasReady, self.isReady = self.isReady, isEngineReady(self._requirementsPath)
        self._ui.engineFrame.visible = not self.isReady
        if not self.isReady:
            self._ui.installButton.visible = _hasInstaller()
            self._ui.engineLabel.text = self._sentence()
        if self.isReady and not wasReady:
            self._onReady()

    def install(self) -> None:
        """Let the PyTorch extension install the build that fits this computer; it takes minutes."""
        import slicer.packaging

        (requirement,) = slicer.packaging.load_requirements(self._requirementsPath)
        question = _("PyTorch will be downloaded and installed into this Slicer. This may take some minutes.")
        if not slicer.util.confirmOkCancelDisplay(question, REQUESTER):
            return
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            import PyTorchUtils

            PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=str(requirement.specifier))
        except Exception as error:  # pip and light-the-torch raise many kinds
            logging.getLogger("MIRRBA").exception("Installing PyTorch failed")
            slicer.util.errorDisplay(
                _("PyTorch could not be installed ({error}); try it from the PyTorch Utils module.").format(error=error)
            )
        finally:
            qt.QApplication.restoreOverrideCursor()
        importlib.invalidate_caches()
        self.update()

    def _sentence(self) -> str:
        if _hasInstaller():
            return _("MIRRBA computes with PyTorch, which is not installed in this Slicer yet.")
        return _(
            "MIRRBA computes with PyTorch. Install the {extension} extension with the Extensions Manager "
            "(View menu), restart Slicer, and come back."
        ).format(extension=_EXTENSION_HELP)


def _hasInstaller() -> bool:
    """Whether the PyTorch extension is installed."""
    return hasattr(slicer.modules, "pytorchutils")
