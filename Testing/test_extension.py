"""What Slicer's build, the Extensions Index and Slicer's loader expect of the extension's files. Nothing is run."""

import ast
import json
import re
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "MIRRBARegistration"
LIBRARY = MODULE / "MIRRBARegistrationLib"
MODULE_FILE = MODULE / "MIRRBARegistration.py"
UI_FILE = MODULE / "Resources" / "UI" / "MIRRBARegistration.ui"
SLICER_SIDE = [MODULE_FILE, *sorted(LIBRARY.rglob("*.py"))]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def found(folder: Path, pattern: str) -> set[str]:
    """The files of a kind below a folder of the module, as CMake names them."""
    paths = (path for path in (MODULE / folder).rglob(pattern) if path.is_file())
    return {path.relative_to(MODULE).as_posix() for path in paths}


# CMake


def cmake(folder: Path) -> str:
    """A CMakeLists.txt without its comments."""
    return re.sub(r"(?m)(^|\s)#.*$", "", read(folder / "CMakeLists.txt"))


def cmakeList(name: str) -> list[str]:
    (body,) = re.findall(rf"set\({name}\s+([^)]*)\)", cmake(MODULE))
    return [entry.replace("${MODULE_NAME}", "MIRRBARegistration") for entry in body.split()]


def metadata(name: str) -> str:
    (value,) = re.findall(rf'set\(EXTENSION_{name} "([^"]+)"\)', cmake(ROOT))
    return value


def test_cmake_lists_every_python_file_and_no_other():
    listed = cmakeList("MODULE_PYTHON_SCRIPTS")
    assert len(listed) == len(set(listed))
    assert set(listed) == {MODULE_FILE.name} | found("MIRRBARegistrationLib", "*.py") | found("mirrba", "*.py")


def test_cmake_lists_every_resource_and_no_other():
    listed = cmakeList("MODULE_PYTHON_RESOURCES")
    assert len(listed) == len(set(listed))
    assert set(listed) == found("Resources", "*")


def test_every_test_that_slicer_can_run_is_registered():
    scripts = re.findall(r"slicer_add_python_unittest\(SCRIPT (\S+)\)", cmake(MODULE / "Testing" / "Python"))
    assert set(scripts) == {path.name for path in (MODULE / "Testing" / "Python").glob("*.py")}
    assert re.findall(r"slicer_add_python_unittest\(SCRIPT (\S+)\)", cmake(MODULE)) == ["${MODULE_NAME}.py"]
    assert "WITH_GENERIC_TESTS" in cmake(MODULE)
    assert "add_subdirectory(Testing)" in cmake(MODULE)
    assert "add_subdirectory(Python)" in cmake(MODULE / "Testing")


def test_the_extension_is_declared_as_slicer_wants_it():
    text = cmake(ROOT)
    assert text.startswith("cmake_minimum_required(VERSION 3.28.0...3.28.0 FATAL_ERROR)")
    steps = [
        "project(MIRRBA)",
        "find_package(Slicer REQUIRED)",
        "include(${Slicer_USE_FILE})",
        "add_subdirectory(MIRRBARegistration)",
        "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
        "include(${Slicer_EXTENSION_CPACK})",
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert metadata("DEPENDS") == "PyTorch"


def test_the_description_is_a_few_plain_sentences():
    description = metadata("DESCRIPTION")
    assert len(description) < 400
    assert ";" not in description  # CMake would make a list of it
    jargon = r"network|deform|diffeomorph|regulari|architecture|LNCC|LapIRN|tensor|unsupervised"
    assert not re.search(jargon, description, re.IGNORECASE)


def test_the_pictures_that_the_extensions_manager_shows_are_in_the_repository():
    homepage = metadata("HOMEPAGE")
    raw = homepage.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    pictures = [metadata("ICONURL"), *metadata("SCREENSHOTURLS").split()]
    assert len(pictures) >= 2
    for url in pictures:
        assert url.startswith(raw)
        assert (ROOT / url.removeprefix(raw)).is_file(), url


# The Extensions Index: schema 1.0.2 (Slicer/Slicer, Schemas/) and scripts/check_description_files.py there

INDEX_ENTRY = ROOT / "Resources" / "MIRRBA.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json"
)
FIELDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


def test_the_index_entry_keeps_the_schema():
    entry = json.loads(read(INDEX_ENTRY))
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(FIELDS)
    assert all(type(value) is FIELDS[name] for name, value in entry.items())
    assert entry["$schema"] == SCHEMA + "#"
    assert 1 <= entry["tier"] <= 5
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert b"\r" not in INDEX_ENTRY.read_bytes()


def test_the_index_entry_is_what_the_index_accepts():
    entry = json.loads(read(INDEX_ENTRY))
    assert entry["category"] in ("Registration", "Nuclear Medicine")
    # attributes, == and quotes as in the entries of other PET extensions
    assert re.fullmatch(r"Modality == '\w+'( or Modality == '\w+')*", entry["dicom_support_rule"])
    url = urlsplit(entry["scm_url"])
    assert url.scheme == "https"
    assert Path(url.path).stem.startswith("Slicer")
    assert not INDEX_ENTRY.stem.lower().startswith("slicer")
    assert (ROOT / "LICENSE").is_file()


def test_the_index_entry_and_cmake_agree():
    entry = json.loads(read(INDEX_ENTRY))
    assert f"project({INDEX_ENTRY.stem})" in cmake(ROOT)
    assert entry["build_dependencies"] == metadata("DEPENDS").split()
    assert entry["scm_url"] == metadata("HOMEPAGE") + ".git"


def test_the_module_names_the_same_address():
    (homepage,) = re.findall(r'HOMEPAGE = "([^"]+)"', read(MODULE_FILE))
    assert homepage == metadata("HOMEPAGE")


# Resources


def pngSize(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def test_icons_and_thumbnails_have_slicers_sizes():
    icon = MODULE / "Resources" / "Icons" / "MIRRBARegistration.png"
    assert pngSize(ROOT / "MIRRBA.png") == pngSize(icon) == (128, 128)
    assert pngSize(icon.with_name("MIRRBAPhantom.png")) == (260, 280)


def test_only_torch_is_required_and_as_new_as_for_pip():
    # as slicer.packaging.load_requirements reads it: a line is a requirement, a comment, an option, or empty
    lines = [line.strip() for line in read(MODULE / "Resources" / "requirements.txt").splitlines()]
    (requirement,) = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    assert requirement.name == "torch"
    assert f'"{requirement}"' in read(ROOT / "pyproject.toml")


# Python

OFFERED_BY_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", "scipy"}
OURS = {"MIRRBARegistrationLib", "mirrba"}
LIGHT_ENGINE = {"mirrba.errors", "mirrba.presets"}
"""What of the engine may be loaded into Slicer itself."""
FILE_SCOPE = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign)


def importedAtFileScope(path: Path) -> list[tuple[str, int]]:
    """Names of modules, with the level of a relative import."""
    names = []
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.Import):
            names += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append((node.module or "", node.level))
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name, level in importedAtFileScope(path) if not level}


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_slicer_loads_nothing_that_it_does_not_ship(path):
    assert packages(path) <= OFFERED_BY_SLICER | OURS | set(sys.stdlib_module_names)
    ofEngine = {name for name, level in importedAtFileScope(path) if not level and name.startswith("mirrba")}
    assert ofEngine <= LIGHT_ENGINE


@pytest.mark.parametrize("name", sorted(LIGHT_ENGINE))
def test_what_slicer_loads_of_the_engine_needs_python_only(name):
    assert packages(MODULE / f"{name.replace('.', '/')}.py") <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_loading_a_file_executes_nothing_but_definitions(path):
    statements = ast.parse(read(path)).body
    texts = [node for node in statements if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert all(isinstance(node, FILE_SCOPE) for node in statements if node not in texts)
    if path == MODULE_FILE:
        values = [node.value for node in statements if isinstance(node, ast.Assign)]
        assert all(isinstance(value, ast.Constant) for value in values)


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_nothing_is_installed_with_pip_directly(path):
    assert "pip_install" not in read(path)


def test_nothing_leaves_the_computer():
    network = {"urllib", "http", "socket", "requests", "ftplib", "smtplib", "ssl", "asyncio"}
    for path in [*SLICER_SIDE, *(MODULE / "mirrba").rglob("*.py")]:
        for node in ast.walk(ast.parse(read(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.split(".")[0] for name in names} & network, path


# The panel

CUSTOM_WIDGETS = {  # where Slicer/Slicer and commontk/CTK define them (looked up in August 2026)
    "qMRMLWidget": "Libs/MRML/Widgets/qMRMLWidget.h",
    "qMRMLNodeComboBox": "Libs/MRML/Widgets/qMRMLNodeComboBox.h",
    "qMRMLCheckableNodeComboBox": "Libs/MRML/Widgets/qMRMLCheckableNodeComboBox.h",
    "qMRMLSegmentSelectorWidget": "Libs/MRML/Widgets/qMRMLSegmentSelectorWidget.h",
    "qMRMLSliderWidget": "Libs/MRML/Widgets/qMRMLSliderWidget.h",
    "qMRMLSubjectHierarchyComboBox": "Modules/Loadable/SubjectHierarchy/Widgets/qMRMLSubjectHierarchyComboBox.h",
    "ctkCollapsibleButton": "CTK: Libs/Widgets/ctkCollapsibleButton.h",
    "ctkCollapsibleGroupBox": "CTK: Libs/Widgets/ctkCollapsibleGroupBox.h",
    "ctkSliderWidget": "CTK: Libs/Widgets/ctkSliderWidget.h",
    "ctkDoubleSpinBox": "CTK: Libs/Widgets/ctkDoubleSpinBox.h",
    "ctkRangeWidget": "CTK: Libs/Widgets/ctkRangeWidget.h",
    "ctkComboBox": "CTK: Libs/Widgets/ctkComboBox.h",
}
CONTAINERS = {"qMRMLWidget", "QWidget", "QFrame", "QGroupBox", "ctkCollapsibleButton", "ctkCollapsibleGroupBox"}
NODE_SELECTORS = {"qMRMLNodeComboBox", "qMRMLCheckableNodeComboBox"}
# Base/Python/slicer/parameterNodeWrapper/guiConnectors.py: what can be connected to what
CONNECTABLE = {
    "QCheckBox": {"bool"},
    "QLineEdit": {"str"},
    "QSpinBox": {"int"},
    "ctkSliderWidget": {"int", "float"},
    "ctkDoubleSpinBox": {"int", "float"},
}


def panel() -> ElementTree.Element:
    return ElementTree.parse(UI_FILE).getroot()


def widgets() -> list[ElementTree.Element]:
    return list(panel().iter("widget"))


def interactive() -> list[ElementTree.Element]:
    return [widget for widget in widgets() if widget.get("class") not in CONTAINERS | {"QLabel"}]


def properties(widget: ElementTree.Element) -> dict[str, list[str]]:
    """The texts in each property."""
    return {
        item.get("name"): [text.strip() for text in item.itertext() if text.strip()]
        for item in widget.findall("property")
    }


def parameterName(widget: ElementTree.Element) -> str | None:
    return next(iter(properties(widget).get("SlicerParameterName", [])), None)


def parameterClasses() -> dict[str, ast.ClassDef]:
    tree = ast.parse(read(LIBRARY / "parameters.py"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def parameters() -> dict[str, str]:
    """The fields of the parameter node and their types, as they are written."""
    body = parameterClasses()["MIRRBARegistrationParameterNode"].body
    return {node.target.id: ast.unparse(node.annotation) for node in body if isinstance(node, ast.AnnAssign)}


def attributes(path: Path, *owners: str) -> set[str]:
    """The x of every `owner.x` and `self.owner.x`."""
    nodes = [node for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if getattr(node.value, "id", getattr(node.value, "attr", None)) in owners}


def usedWidgets() -> set[str]:
    return set().union(*(attributes(path, "ui", "_ui") for path in SLICER_SIDE))


def test_every_widget_class_exists_in_slicer_and_is_declared():
    used = {widget.get("class") for widget in widgets()}
    custom = {name for name in used if not name.startswith("Q")}
    assert custom <= set(CUSTOM_WIDGETS)
    declared = {item.findtext("class"): item.findtext("header") for item in panel().iter("customwidget")}
    assert declared == {name: f"{name}.h" for name in custom}


def test_widget_names_are_unique():
    names = [widget.get("name") for widget in widgets()]
    assert len(names) == len(set(names))


def test_every_widget_that_the_code_uses_exists():
    assert usedWidgets() <= {widget.get("name") for widget in widgets()}


def test_every_widget_is_used():
    idle = {widget.get("name") for widget in interactive() if parameterName(widget) is None} - usedWidgets()
    assert idle == set()


def test_every_interactive_widget_section_and_its_label_has_a_tooltip():
    headed = [w for w in widgets() if w.get("class").startswith("ctkCollapsible") or "buddy" in properties(w)]
    assert [w.get("name") for w in [*interactive(), *headed] if not properties(w).get("toolTip")] == []


def test_a_letter_of_the_keyboard_leads_to_one_widget():
    texts = " ".join(text for widget in widgets() for text in properties(widget).get("text", []))
    letters = re.findall(r"&(\w)", texts.lower())
    assert len(letters) > 10
    assert sorted(letters) == sorted(set(letters))


def test_every_parameter_name_is_a_parameter_and_is_shown_once():
    names = [name for widget in widgets() if (name := parameterName(widget)) is not None]
    assert len(names) == len(set(names))
    assert set(names) <= set(parameters())


def test_every_parameter_is_shown_or_used():
    names = {parameterName(widget) for widget in widgets()}
    owners = ("parameters", "_parameters")
    used = set().union(*(attributes(path, *owners) for path in SLICER_SIDE))
    assert set(parameters()) <= names | used


def test_every_widget_suits_the_type_of_its_parameter():
    bases = {name: {ast.unparse(base) for base in node.bases} for name, node in parameterClasses().items()}
    direct = {name for name in bases if "enum.Enum" in bases[name]}
    enums = {name for name in bases if bases[name] & direct}
    for widget in widgets():
        name, class_ = parameterName(widget), widget.get("class")
        if name is None:
            continue
        type_ = parameters()[name]
        plain = re.sub(r"Annotated\[(\w+),.*", r"\1", type_)
        if class_ in NODE_SELECTORS:
            assert [f"slicer.{node}" for node in properties(widget)["nodeTypes"]] == [type_], name
        else:
            assert plain in (enums if class_ == "QComboBox" else CONNECTABLE[class_]), name
        if class_ == "ctkSliderWidget":  # Slicer refuses a slider without bounds
            assert "WithinRange" in type_, name


def test_every_selector_of_nodes_follows_the_scene():
    root = widgets()[0]
    assert root.get("class") == "qMRMLWidget"
    selectors = {widget.get("name") for widget in widgets()[1:] if widget.get("class").startswith("qMRML")}
    connected = [
        item.findtext("receiver")
        for item in panel().iter("connection")
        if item.findtext("sender") == root.get("name")
        and item.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and item.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    ]
    assert sorted(connected) == sorted(selectors)


def test_every_label_points_to_a_widget_that_exists():
    names = {widget.get("name") for widget in interactive()}
    buddies = [buddy for widget in widgets() for buddy in properties(widget).get("buddy", [])]
    assert len(buddies) == len(set(buddies))
    assert set(buddies) <= names
