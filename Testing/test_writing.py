"""A file appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mirrba.writing import whole, write_json, write_text


def test_nothing_is_there_until_all_of_it_is(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with whole(path) as aside:
        aside.write_text("half")
        assert not path.exists()
        aside.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_lies_beside_the_file_and_has_its_ending(tmp_path: Path) -> None:
    with whole(tmp_path / "field.nrrd") as aside:
        assert aside.parent == tmp_path
        assert aside.suffix == ".nrrd", "ITK goes by it"
        aside.touch()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_older_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    path = write_text(tmp_path / "report.md", "older")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_what_json_cannot_hold_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"name": "Läsion"})
    with pytest.raises(TypeError):
        write_json(path, {"name": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Läsion"}
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path, error: BaseException) -> None:
    with whole(path) as aside:
        aside.write_text("half")
        raise error
