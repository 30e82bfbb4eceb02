"""The filter language as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.query.evaluate import fields_of
from projections.query.filters import BadFilter, compile_filter
from shell import filter_text
from shell.failure import BadUsage


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("oper_state", ["?", "oper_state"]),
        ('name == "web1"', ["==", "name", "web1"]),
        ("name = 'web1'", ["==", "name", "web1"]),
        ("be/memory >= 1024", [">=", "be/memory", 1024]),
        ("ndp/cpu_speed < 1.5", ["<", "ndp/cpu_speed", 1.5]),
        ('not (a == 1 or b != "x")', ["!", ["|", ["==", "a", 1], ["!=", "b", "x"]]]),
        ("a and b and c", ["&", ["?", "a"], ["?", "b"], ["?", "c"]]),
        ("a or b and c", ["|", ["?", "a"], ["&", ["?", "b"], ["?", "c"]]]),
        ('"prod" in tags', ["=[]", "tags", "prod"]),
        ('"prod" not in tags', ["!", ["=[]", "tags", "prod"]]),
        ("name =~ m/^web[0-9]+/i", ["=~", "name", "(?i:^web[0-9]+)"]),
        ("name =~ m#a/b#", ["=~", "name", "a/b"]),
        ("name !~ /x/", ["!", ["=~", "name", "x"]]),
        ('name =* "web*"', ["=~", "name", "^web.*(\\..*)?$"]),
        (r'name == "a\"b"', ["==", "name", 'a"b']),
    ],
)
def test_parse(text: str, found: object) -> None:
    """Each form of Ganeti's language becomes the nested list that Ganeti makes of it."""
    assert filter_text.parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "a ==", "== 1", "(a", "a)", "a b", '"x"', "a =~ 5", '"x" in', "a == b", "not"]
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    """The place that was not understood is shown."""
    with pytest.raises(BadUsage, match="here"):
        filter_text.parse(text)


def test_names_and_filters_are_told_apart() -> None:
    """A word with an operator is a filter, one with a star a pattern, others are names."""
    assert filter_text.looks_like_filter('name=="x"')
    assert not filter_text.looks_like_filter("web1.example.net")
    assert filter_text.is_pattern("web*")
    assert filter_text.name_filter("name", "web?") == ["=~", "name", "^web.(\\..*)?$"]


@pytest.mark.property
@given(st.text(alphabet="ab=~!<>()\"'/ m10and or not in", max_size=30))
def test_whatever_is_typed_is_a_filter_or_refused(text: str) -> None:
    """Any text either parses to something that compiles, or is refused with words."""
    try:
        compile_filter(filter_text.parse(text), fields_of("instance"))
    except (BadUsage, BadFilter):
        return
