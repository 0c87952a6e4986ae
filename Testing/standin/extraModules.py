"""Python modules of other Slicer modules that ours imports: SampleData, ScreenCapture, PyTorchUtils."""

from __future__ import annotations

import types

import slicer

from .pythonqt import unwrap


class SampleDataSource:
    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ) -> None:
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        self.sampleName = sampleName
        self.sampleDescription = sampleName if sampleDescription is None else sampleDescription
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        isSingle = isinstance(uris, str)
        count = 1 if isSingle else len(uris)  # without uris it fails in Slicer, too
        lists = (fileNames, nodeNames, checksums, loadFiles, loadFileTypes or loadFileType)
        lists = [[v] if isSingle else ([v] * count if v is None or isinstance(v, str) else v) for v in lists]
        self.uris = [uris] if isSingle else uris
        self.fileNames, self.nodeNames, self.checksums, self.loadFiles, self.loadFileTypes = lists
        if any(len(values) != count for values in lists):
            raise ValueError("All fields of sample data source must have the same length")


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category, title) -> None:
        categories = _attribute("sampleDataSourceCategories")
        categories.setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006 - Slicer's signature
        checksums=None,
        loadFileType=None,
    ) -> None:
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            loadFileType=loadFileType,
        )
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            _attribute("sampleDataSources").setdefault(category, []).append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        sources = _attribute("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource) -> bool:
        sources = SampleDataLogic.sampleDataSourcesByCategory(category)
        return vars(sampleDataSource) in [vars(other) for other in sources]

    @staticmethod
    def categoryTitle(category):
        return _attribute("sampleDataSourceCategories").get(category, {}).get("title", category)

    def sourceForSampleName(self, sampleName):
        sources = _attribute("sampleDataSources").values()
        return next((s for group in sources for s in group if s.sampleName == sampleName), None)


def makeSampleData() -> types.ModuleType:
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    return module


class ScreenCaptureLogic:
    def captureImageFromView(self, view, filename=None, transparentBackground=False, volumeNode=None) -> None:
        widget = slicer.app.layoutManager().viewport() if view is None else view
        image = unwrap(widget).grab()
        if filename:
            image.save(str(filename))


def makeScreenCapture() -> types.ModuleType:
    module = types.ModuleType("ScreenCapture")
    module.ScreenCaptureLogic = ScreenCaptureLogic
    return module


def makePyTorchUtils(installed: list[str]) -> types.ModuleType:
    """The extension "PyTorch": what it is asked to install is recorded."""
    module = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def torchInstalled(self) -> bool:
            return bool(installed)

        def installTorch(
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            installed.append(torchVersionRequirement or "")

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


def _attribute(name: str) -> dict:
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)
