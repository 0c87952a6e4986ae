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


def test_of_two_that_write_a_file_at_once_the_last_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with whole(path) as first, whole(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"name": "Läsion", "number": 1.5})
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == {"name": "Läsion", "number": 1.5}


def write_half(path: Path, error: BaseException) -> None:
    with whole(path) as aside:
        aside.write_text("half")
        raise error
