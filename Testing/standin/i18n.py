"""slicer.i18n: translation, into English."""


def translate(context: str, text: str) -> str:
    import slicer

    return slicer.app.translate(context, text)


def tr(text: str) -> str:
    return translate("", text)


def getContext(sourceFile: str) -> str:
    """The file's name without .py, after the name of its package if it is in one."""
    from pathlib import Path

    path = Path(sourceFile)
    package = f"{path.parent.name}." if (path.parent / "__init__.py").is_file() else ""
    return package + path.name.removesuffix(".py")
