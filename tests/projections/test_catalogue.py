"""docs/events.md is what the types say now."""

from __future__ import annotations

from projections.events.configuration import DiskGrown
from projections.events.jobs import JobSubmitted
from projections.objects import Disk
from projections.registry import REGISTRY, decode
from tests.projections.filled import fields_in
from tests.projections.golden import every_kind
from tools.dev.catalogue import PATH, catalogue, fields_of


def test_the_catalogue_is_up_to_date() -> None:
    """The file equals what is made from the types; if not, `make docs` writes it."""
    assert PATH.read_text() == catalogue(), "run: python -m tools.dev.catalogue"


def test_every_kind_and_field_is_in_it() -> None:
    """No event is left out, nor any of its fields."""
    text = catalogue()
    for event in REGISTRY:
        assert f"### {event.KIND}\n" in text
        assert {field.name for field in fields_of(event)} == set(event.__struct_fields__)


def test_every_struct_within_an_event_is_in_it() -> None:
    """What events are made of is told to the last part."""
    text = catalogue()
    events = {event.__name__ for event in REGISTRY}
    told = [decode(stored.record) for stored in every_kind().records]
    for struct in {field.struct for field in fields_in(told)} - events:
        assert f"### {struct}\n" in text


def test_a_field_is_told_by_the_comment_beside_or_above_it() -> None:
    """Types, defaults and comments are those of the source."""
    grown = {field.name: field for field in fields_of(DiskGrown)}
    assert grown["size_mib"].note == "the new size"
    assert (grown["size_mib"].type, grown["size_mib"].default) == ("int", "")
    disk = {field.name: field for field in fields_of(Disk)}
    assert disk["health"].note.startswith("node uuid -> faulty")
    submitted = {field.name: field for field in fields_of(JobSubmitted)}
    assert submitted["priority"].default == "0"
