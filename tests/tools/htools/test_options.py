"""Command lines and figures, as the original reads and prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.htools.choices import BadValue, parse_unit
from tools.htools.figures import fixed, general, plain, quoted, shown
from tools.htools.names import match_name
from tools.htools.option_table import BEYOND, PROGRAMS
from tools.htools.options import Stop, parse, usage


def test_options_mix_with_arguments_and_may_be_cut_short() -> None:
    """`--simu` is `--simulate`, `-vv` is twice `-v`, `-tX` is `-t X`."""
    choices = parse("hail", ["-vv", "file", "--simu=p,1,2,3,4", "-tX", "--restrict", "a,b"])
    assert choices.arguments == ["file"]
    assert choices.verbose == 3
    assert choices.simulations == ["p,1,2,3,4"]
    assert choices.data_file == "X"
    assert choices.restrict_to == ["a", "b"]


def test_an_exact_name_wins_over_longer_ones() -> None:
    """`--min-gain` is not ambiguous, although `--min-gain-limit` begins with it."""
    assert parse("hbal", ["--min-gain", "5"]).min_gain == 5.0
    assert parse("hbal", ["--min-gain-l=7"]).min_gain_limit == 7.0


def test_optional_values_are_attached_or_absent() -> None:
    """`-p name` shows the default fields and has an argument; `-pname` shows the name."""
    assert parse("hbal", ["-p", "name"]).show_nodes == []
    assert parse("hbal", ["-pname,pcnt"]).show_nodes == ["name", "pcnt"]
    assert parse("hbal", ["-p+idx"]).show_nodes == ["+", "idx"]
    assert parse("hbal", ["-C"]).commands == "-"


BAD = [
    (["--nope"], 2, "unrecognized option `--nope'"),
    (["-Z"], 2, "unrecognized option `-Z'"),
    (["-t"], 2, "option `-t' requires an argument FILE"),
    (["--verbose=3"], 2, "option `--verbose' doesn't allow an argument"),
    (["--ex"], 2, "option `--ex' is ambiguous"),
    (["--max-cpu=0"], 1, "Invalid value of the max-cpu ratio, expected >0"),
    (["-l", "many"], 1, "max solution length: cannot parse string 'many'"),
    (["--mond=maybe"], 1, "Invalid choice 'maybe', pass one of 'yes' or 'no'"),
    (["--min-disk", "1e999"], 1, "out of range"),
    (["--priority=abc"], 1, "Unknown priority 'abc'"),
]


@pytest.mark.parametrize(("argv", "status", "problem"), BAD)
def test_bad_command_lines_have_ganetis_statuses(
    argv: list[str], status: int, problem: str
) -> None:
    """2 for a line that cannot be read, 1 for a value that cannot be used."""
    with pytest.raises(Stop) as caught:
        parse("hbal", argv)
    assert caught.value.status == status
    assert problem in caught.value.error


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_help_lists_every_option(program: str) -> None:
    """Each program answers --help, --version and --help-completion with status 0."""
    for word in ("--help", "--version", "--help-completion"):
        with pytest.raises(Stop) as caught:
            parse(program, [word])
        assert caught.value.status == 0
        assert caught.value.out
    for name in PROGRAMS[program].split():
        assert f"--{name}" in usage(program)


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_bad_line_is_answered_with_ganetis_options(program: str) -> None:
    """The usage after an error is the original's; `--help` lists what there is beyond it, too."""
    with pytest.raises(Stop) as caught:
        parse(program, ["--nope"])
    shown = caught.value.error
    names = PROGRAMS[program].split()
    assert [name for name in names if f"--{name}" not in shown] == [
        name for name in names if name in BEYOND
    ]


def test_units() -> None:
    """Lower case is binary, upper case decimal; bare numbers are MiB."""
    sizes = {"5": 5, "5m": 5, "2g": 2048, "1t": 1048576, "1024M": 976, "8T": 7629394, "1 GiB": 1024}
    assert {text: parse_unit(text, "x") for text in sizes} == sizes
    with pytest.raises(BadValue, match="Unknown unit 'q'"):
        parse_unit("5q", "x")


def test_figures_are_those_of_the_original() -> None:
    """Rounding starts from the shortest decimal, half to even; exponents as Haskell shows them."""
    assert fixed(0.001953125, 8) == "0.00195312"
    assert fixed(2.5, 0) == "2"
    assert fixed(float("nan"), 2) == "NaN"
    assert (general(0.0, 6), general(1e-9, 6)) == ("0.000000", "1.000000e-9")
    assert [shown(x) for x in (4.0, 0.01, 1e7, 0.1, 123.0)] == [
        "4.0",
        "1.0e-2",
        "1.0e7",
        "0.1",
        "123.0",
    ]
    assert (plain(1.0), plain(1e-5)) == ("1.0", "0.00001")
    assert (quoted("a.1"), quoted("a b")) == ("a.1", "'a b'")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(0, 8))
def test_fixed_is_close(value: float, digits: int) -> None:
    """A fixed figure is within half a unit of its last digit."""
    assert abs(float(fixed(value, digits)) - value) <= 0.5000001 * 10**-digits + abs(value) * 1e-9


def test_names_match_up_to_a_dot() -> None:
    """A name stands for itself, or for the one name that continues it after a dot."""
    names = ["a.x", "b.x", "b.y", "ab.x"]
    assert [match_name(names, word) for word in ("a", "b", "a.x", "z")] == [
        "a.x",
        None,
        "a.x",
        None,
    ]
