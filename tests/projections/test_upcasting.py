"""What a change of an event type will meet: histories that an older version wrote.

No event type has changed so far, so there is no upcaster to try, and each recorded history is of
the first schemas. These tests go the way of the first change beforehand: a type of today is taken
for the second schema of its kind, its recorded bytes are written as a first schema would have held
them, and the whole history is read, folded and digested through the upcaster.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from eventstore import events as log
from eventstore.record import Event, Stored
from projections import state
from projections.errors import CorruptHistory, UnknownKind
from projections.events import configuration as c
from projections.events import jobs as j
from projections.registry import REGISTRY, Registry
from projections.state import Projector
from projections.upcasters import Fields
from tests.projections.golden import files, recorded
from tests.projections.log_maker import LogMaker


class Change(NamedTuple):
    """A type as it is now, and how a schema before it held the same facts."""

    event: type[Event]
    old: Callable[[Fields], Fields]  # what the former version would have written
    upcast: Callable[[Fields], Fields]


def renamed(event: type[Event], field: str, former: str) -> Change:
    def moved(fields: Fields, old: str, new: str) -> Fields:
        rest = {name: value for name, value in fields.items() if name != old}
        return {**rest, new: fields[old]}

    return Change(
        event, lambda now: moved(now, field, former), lambda old: moved(old, former, field)
    )


def _grown_in_bytes(now: Fields) -> Fields:
    return {**{k: v for k, v in now.items() if k != "size_mib"}, "size": now["size_mib"] << 20}


def _grown_in_mib(old: Fields) -> Fields:
    return {**{k: v for k, v in old.items() if k != "size"}, "size_mib": old["size"] >> 20}


def _without_place(now: Fields) -> Fields:
    node = dict(now["node"])
    return {"member": node.pop("name"), **now, "node": node}


def _with_place(old: Fields) -> Fields:
    node = {**old["node"], "name": old["member"]}
    return {**{k: v for k, v in old.items() if k != "member"}, "node": node}


CHANGES = (
    Change(c.DiskGrown, _grown_in_bytes, _grown_in_mib),  # a unit
    Change(c.NodeInvited, _without_place, _with_place),  # what was beside is inside
    renamed(log.KeyAdmitted, "curve_key", "public_key"),  # read before a state is there
    renamed(c.InstanceStateSet, "admin_state", "state"),
    renamed(j.JobSubmitted, "ops", "opcodes"),
    renamed(j.TaskRequested, "call", "wanted"),
    renamed(j.OpPlanned, "plan", "decision"),
)


@pytest.fixture(params=CHANGES, ids=lambda change: change.event.KIND)
def change(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Change:
    """A change that has just been made: the vocabulary knows the type as schema 2."""
    made: Change = request.param
    monkeypatch.setattr(made.event, "SCHEMA", 2)
    changed = Registry(REGISTRY, {(made.event.KIND, 1): made.upcast})
    monkeypatch.setattr(state, "decode", changed.decode)
    return made


def as_before(path: Path, change: Change) -> list[Stored]:
    """Return a recorded history as the version before the change would have written it."""
    maker = LogMaker()
    for stored in recorded(path):
        record, data = stored.record, stored.record.data
        if record.kind == change.event.KIND:
            fields: Any = msgspec.msgpack.decode(data)
            data = msgspec.Raw(msgspec.msgpack.encode(change.old(fields)))
        written = maker.append_bytes(record.stream, record.kind, 1, data, job=record.job)
        maker.records.append(written)
    return maker.records


def folded(records: list[Stored]) -> Projector:
    projector = Projector()
    projector.apply(records)
    return projector


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_history_of_the_older_schema_folds_to_the_same_state(
    path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digest for digest, whatever was recorded: units, names, nested values."""
    through_the_upcaster = folded(as_before(path, change))
    monkeypatch.undo()
    as_recorded = folded(recorded(path))
    assert through_the_upcaster.digest() == as_recorded.digest()
    assert through_the_upcaster.state.cluster.nodes == as_recorded.state.cluster.nodes


def test_every_change_is_met_in_the_recorded_histories(change: Change) -> None:
    """Else the test above would pass without an upcaster."""
    kinds = {stored.record.kind for path in files() for stored in recorded(path)}
    assert change.event.KIND in kinds
    with pytest.raises(CorruptHistory, match=re.escape(change.event.KIND)):
        folded(recorded(files()[-1]))  # bytes of today, said to be of schema 1


def test_a_version_before_the_change_stops_at_its_first_record(change: Change) -> None:
    """It names the record; better no master than one that misreads."""
    maker = LogMaker()
    data = msgspec.Raw(b"\x80")
    maker.records.append(maker.append_bytes("log", change.event.KIND, 3, data))
    with pytest.raises(UnknownKind, match="record 1"):
        folded(maker.records)
