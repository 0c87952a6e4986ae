"""docs/reliability.md names tests that exist, and counts the cases that are tried."""

import ast
import re
from pathlib import Path

import test_fuzz

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)", TEXT)))


def test_every_named_test_exists():
    assert len(NAMED) > 40
    for file, name in NAMED:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_row_of_a_table_names_its_test():
    tables = [table for table in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE) if "| test |\n" in table]
    rows = [row for table in tables for row in table.splitlines()[2:]]
    assert len(rows) > 30
    assert [row for row in rows if "test_" not in row] == []


def test_the_fuzzed_cases_are_counted_right():
    damaged = len(test_fuzz.READERS) * test_fuzz.DAMAGED
    total = test_fuzz.JOBS + test_fuzz.JOB_TEXTS + test_fuzz.COMMANDS + damaged
    assert f"\n{total:,} cases a run" in TEXT
    for cases in (
        test_fuzz.JOBS,
        test_fuzz.JOB_TEXTS,
        test_fuzz.COMMANDS,
        f"{len(test_fuzz.READERS)} × {test_fuzz.DAMAGED}",
    ):
        assert f"| {cases} |" in TEXT
