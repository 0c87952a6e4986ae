"""A stand-in for the 3D Slicer application, so that our scripted module can be loaded, clicked and looked at in tests.

    with standin.SlicerApplication() as application:
        widget = application.loadModule(ROOT / "MIRRBARegistration" / "MIRRBARegistration.py")
        widget.ui.applyButton.click()
        application.mainWindowScreenshot("panel.png")

MRML, its logics and slicer.util are the real ones of slicer-core; Qt is PySide6 with PythonQt's habits. It offers
only what Slicer has. docs/developer.md says what it is not.
"""

from .application import SlicerApplication

__all__ = ["SlicerApplication"]
