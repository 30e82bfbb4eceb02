"""Values, tables and trees as text."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shell.render import cells, table
from shell.render.formats import Head, Style, rendered
from shell.render.tree import Tree, text


@pytest.mark.parametrize(
    ("mib", "units", "shown"),
    [(0, "h", "0M"), (512, "h", "512M"), (1023, "h", "1023M"), (1024, "h", "1.0G"),
     (20480, "h", "20.0G"), (2 << 20, "h", "2.0T"), (20480, "m", "20480"), (20480, "g", "20.0"),
     (1 << 20, "t", "1.0")],
)  # fmt: skip
def test_sizes(mib: int, units: str, shown: str) -> None:
    """Sizes are Ganeti's: the nearest unit with its letter, or one unit without."""
    assert cells.size(mib, units) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (True, "Y"), (False, "N"), ([1, "a", None], "1,a,-"), ([], ""), (1.5, "1.5"),
     ({"b": 1, "a": False}, "a=N, b=1"), ({}, "(empty)"), ([[1, "a"], []], "(1,a),()"),
     ({"a": {"b": [1, 2]}}, "a=(b=(1,2))"), ([{"size": 1}, {}], "(size=1),()")],
)  # fmt: skip
def test_plain_values(value: object, shown: str) -> None:
    """Yes and no are letters, lists have commas, maps are sorted; what is inside has brackets."""
    assert cells.plain(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [([1795360801, 161000], "2026-11-22 15:20:01.161000"), (None, "-"), ([None], "-"),
     ([[1795360801, 5], [1795360802, 0]], "2026-11-22 15:20:01.000005,2026-11-22 15:20:02.000000")],
)  # fmt: skip
def test_stamps_of_jobs(value: object, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ganeti's pairs of seconds and microseconds are shown as times, as its gnt-job list does."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert cells.text(value, cells.STAMP, "h") == shown


def test_columns() -> None:
    """Numbers stand flush right, text flush left, nothing is padded at the end."""
    rows = [["a", "5", "x"], ["bbb", "1000", ""]]
    assert table.lines(rows, titles=["N", "Size", "T"], right=[False, True, False]) == [
        "N   Size T", "a      5 x", "bbb 1000",
    ]  # fmt: skip
    assert table.lines(rows, titles=None, right=[False] * 3, separator="|") == [
        "a|5|x",
        "bbb|1000|",
    ]


def test_tree() -> None:
    """Names and values nest by two spaces; an item's first line has a dash."""
    tree: Tree = {"a": [{"b": 1, "c": {"d": "x"}}, "e"], "f": None, "g": []}
    assert text(tree) == "a:\n  - b: 1\n    c:\n      d: x\n  - e\nf:\ng:\n"


ODD = st.sampled_from(["\n", "\x1b[31m", "\x85", "\u2028", "\t"])
VALUES = ODD | st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
CELLS = st.tuples(st.sampled_from([0, 0, 2, 3, 4]), VALUES | st.lists(VALUES, max_size=2))
HEADS = [Head("one", "One", "other"), Head("two", "Two", "text")]
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=4)


@pytest.mark.property
@given(ROWS)
def test_json_yaml_and_csv_say_the_same(rows: list[tuple[tuple[int, object], ...]]) -> None:
    """Each form read back gives the same values; what is not there is null, in CSV nothing."""
    wanted = [
        {
            head.name: value if status == 0 else None
            for head, (status, value) in zip(HEADS, row, strict=True)
        }
        for row in rows
    ]
    assert json.loads(rendered(HEADS, rows, Style(format="json"))) == wanted
    assert yaml.safe_load(rendered(HEADS, rows, Style(format="yaml"))) == wanted
    lines = list(csv.reader(io.StringIO(rendered(HEADS, rows, Style(format="csv")), newline="")))
    assert lines[0] == ["one", "two"]
    assert len(lines) == len(rows) + 1


@pytest.mark.property
@given(ROWS)
def test_every_row_is_a_line(rows: list[tuple[tuple[int, object], ...]]) -> None:
    """A table has a line for each row and one for the titles, whatever the cells hold."""
    shown = rendered(HEADS, rows, Style())
    assert len(shown.splitlines()) == len(rows) + 1
    assert "\x1b" not in shown


def test_text_of_others_cannot_steer_the_terminal() -> None:
    """Control characters are shown, not sent; ends of lines and tabs stay in running text."""
    assert cells.printable("a\x1b[2Jb\n\tc\x07") == "a\\x1b[2Jb\n\tc\\x07"
    assert cells.plain("a\nb") == "a\\nb"
    assert text({"a": "b\x1b\nc"}) == "a: b\\x1b\\nc\n"


def test_a_table_in_pieces_keeps_its_columns() -> None:
    """What stands above is not narrower than what comes, until something wider comes."""
    kept = [2, 0]
    found = [
        *table.lines([["a", "1"]], titles=None, right=[False, True], kept=kept),
        *table.lines([["abc", "22"]], titles=None, right=[False, True], kept=kept),
        *table.lines([["a", "3"]], titles=None, right=[False, True], kept=kept),
    ]
    assert found == ["a  1", "abc 22", "a    3"]
    assert kept == [3, 2]
