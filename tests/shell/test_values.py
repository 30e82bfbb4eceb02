"""What people write after an option."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shell import values
from shell.failure import BadUsage


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("memory=1G", {"memory": "1G"}),
        ("acpi,no_pae,-kernel", {"acpi": True, "pae": False, "kernel": None}),
        (r"args=a\,b,x=1", {"args": "a,b", "x": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("no_x=1", {"no_x": "1"}),
    ],
)
def test_key_values(text: str, found: object) -> None:
    """Ganeti's rules for key=value lists hold."""
    assert values.key_values(text, "-B") == found


@pytest.mark.parametrize("text", ["a=1,a=2", "=3", "a,"])
def test_bad_key_values(text: str) -> None:
    """A key that is missing or stands twice is refused."""
    with pytest.raises(BadUsage):
        values.key_values(text, "-B")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0:size=10G,mode=ro", ("0", {"size": "10G", "mode": "ro"})),
        ("kvm", ("kvm", {})),
        ("no_kvm", ("kvm", False)),
        ("-kvm", ("kvm", None)),
        ("-1:add", ("-1", {"add": True})),
        ("memory=1G", ("memory=1G", {})),
    ],
)
def test_idents(text: str, found: object) -> None:
    """An identifier stands before a colon; without one it may be taken away."""
    assert values.ident_key_values(text, "--disk") == found


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("90m", 5400), ("12h", 43200), ("2d", 172800), ("1w", 604800)]
)
def test_ages(text: str, seconds: float) -> None:
    """An age has a unit, seconds if none is given."""
    assert values.age_s(text) == seconds


def test_bad_ages() -> None:
    """What is no age is refused."""
    for text in ("", "x", "1y", "-3"):
        with pytest.raises(BadUsage):
            values.age_s(text)


@pytest.mark.parametrize("text", ["1.5", "x", "", "9" * 30, "9" * 5000, "-" + "9" * 30])
def test_bad_numbers(text: str) -> None:
    """What is no whole number, or more than a record can hold, is refused."""
    with pytest.raises(BadUsage) as refused:
        values.number(text, "--timeout")
    assert refused.value.hint


def test_the_largest_number() -> None:
    """What a record can hold is accepted."""
    assert values.number(str(values.LARGEST), "-n") == values.LARGEST


def test_spec_lists() -> None:
    """Bounds of instances: several, each with minimum and maximum."""
    assert values.spec_lists("min:a=1/max:a=2//min:a=3/max:a=4", "--x") == [
        {"min": {"a": "1"}, "max": {"a": "2"}},
        {"min": {"a": "3"}, "max": {"a": "4"}},
    ]
    assert values.spec_lists("min:a=1/max:a=2", "--x") == [{"min": {"a": "1"}, "max": {"a": "2"}}]


@pytest.mark.property
@given(st.lists(st.text(alphabet="a,\\=", min_size=1), min_size=1))
def test_escaping_is_undone(parts: list[str]) -> None:
    """What is escaped and joined with commas comes apart again as it was."""
    joined = ",".join(part.replace("\\", "\\\\").replace(",", "\\,") for part in parts)
    assert values.split_escaped(joined) == parts
