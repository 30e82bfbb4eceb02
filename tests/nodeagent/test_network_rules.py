"""What a NIC may be."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.calls import NicSpec
from nodeagent.errors import BadCall
from nodeagent.network.rules import Vlans, vlans_of

NIC = NicSpec(uuid="n", index=0, mac="aa:00:00:00:00:01", link="br0")
NUMBERS = st.integers(1, 4094)


def with_vlan(text: str) -> NicSpec:
    return msgspec.structs.replace(NIC, vlan=text)


@pytest.mark.property
@given(access=st.none() | NUMBERS, tagged=st.lists(NUMBERS), dot=st.booleans())
def test_a_vlan_says_what_the_port_carries(
    access: int | None, tagged: list[int], dot: bool
) -> None:
    """Each form of Ganeti's reads back as the numbers that it was written from."""
    first = "" if access is None else f"{'.' if dot else ''}{access}"
    text = first + "".join(f":{number}" for number in tagged)
    expected = Vlans(access, tuple(tagged)) if text else None
    assert vlans_of(with_vlan(text)) == expected


@pytest.mark.property
@given(st.text(alphabet=".:0159a- ", min_size=1))
def test_no_text_is_read_as_something_else(text: str) -> None:
    """A text is refused, or names every number in it, each between 1 and 4094."""
    try:
        found = vlans_of(with_vlan(text))
    except BadCall:
        return
    assert found is not None
    numbers = (*((found.access,) if found.access else ()), *found.tagged)
    assert [int(part) for part in text.replace(".", ":").split(":") if part] == list(numbers)
    assert all(1 <= number <= 4094 for number in numbers)
