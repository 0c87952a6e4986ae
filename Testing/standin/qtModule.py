"""The module `qt`: the Qt classes that our module uses, each checked in PythonQt 4.1.0's generated wrappers."""

import types

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import Method, intercept, wrapperClass
from .receivers import call
from .uiLoader import UiLoader

_CORE = """QByteArray QCoreApplication QDateTime QDir QEvent QEventLoop QFile QFileInfo QIODevice QLocale QObject QPoint
QProcess QProcessEnvironment QRect QSettings QSignalBlocker QSize QStandardPaths QTimer QUrl Qt"""
_GUI = """QAction QBrush QClipboard QColor QCursor QDesktopServices QFont QFontMetrics QIcon QImage QKeySequence
QPainter QPalette QPen QPixmap QShortcut"""
_WIDGETS = """QAbstractItemView QApplication QButtonGroup QCheckBox QComboBox QDialog QDialogButtonBox QDoubleSpinBox
QFileDialog QFormLayout QFrame QGridLayout QGroupBox QHBoxLayout QHeaderView QInputDialog QLabel QLayout QLineEdit
QListWidget QListWidgetItem QMainWindow QMenu QMessageBox QPlainTextEdit QProgressBar QProgressDialog QPushButton
QRadioButton QScrollArea QSizePolicy QSlider QSpacerItem QSpinBox QSplitter QStackedWidget QStatusBar QStyle
QTabWidget QTableWidget QTableWidgetItem QTextEdit QToolBar QToolButton QVBoxLayout QWidget"""


def makeQtModule() -> types.ModuleType:
    module = types.ModuleType("qt", "Qt as Slicer's Python sees it: a stand-in on PySide6.")
    for library, names in ((QtCore, _CORE), (QtGui, _GUI), (QtWidgets, _WIDGETS)):
        for name in names.split():
            setattr(module, name, wrapperClass(getattr(library, name)))
    module.QUiLoader = wrapperClass(UiLoader)
    intercept("QTimer", "singleShot", _singleShot)
    return module


def _singleShot(_, args) -> None:
    """QTimer.singleShot(milliseconds, callable): the callable is kept until then, and gets no argument."""
    if len(args) != 2 or not callable(args[1]) or isinstance(args[0], Method):
        raise ValueError(f"Could not find matching overload for given arguments: {args} of singleShot")
    QtCore.QTimer.singleShot(args[0], lambda: call(args[1], ()))
