"""Every kind of event, and how its bytes become a value again (pure).

A kind that is not known **halts the fold** (`UnknownKind`): better no master than a wrong one. The
exception is a kind whose name begins with `note.`: whoever adds one promises, by the name, that no
fold will ever need it, so an older version passes it over and keeps it for those who know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

import msgspec

from eventstore import events as log_events
from eventstore.record import Event, Record
from projections.errors import CorruptHistory, UnknownKind
from projections.events.configuration import ConfigurationEvent
from projections.events.jobs import JobEvent
from projections.upcasters import UPCASTERS, Upcaster, upcast

IGNORABLE = "note."  # how the kinds begin that no fold needs

LOG_TYPES: tuple[type[Event], ...] = tuple(
    found
    for found in vars(log_events).values()
    if isinstance(found, type) and issubclass(found, Event) and found is not Event
)
CONFIGURATION_TYPES: tuple[type[Event], ...] = get_args(ConfigurationEvent)
JOB_TYPES: tuple[type[Event], ...] = get_args(JobEvent)


class _Known(NamedTuple):
    event: type[Event]
    schema: int
    decoder: msgspec.msgpack.Decoder[Event]


class Registry:
    """A vocabulary: the present type of each kind, and the upcasters that lead to it."""

    def __init__(
        self, types: Iterable[type[Event]], upcasters: Mapping[tuple[str, int], Upcaster]
    ) -> None:
        """Build the decoders once. Two types of one kind, or a gap in a chain, are our own bug."""
        self._known: dict[str, _Known] = {}
        self._upcasters = upcasters
        for event in types:
            assert event.KIND not in self._known, f"{event.KIND} twice"
            for old in range(1, event.SCHEMA):
                assert (event.KIND, old) in upcasters, f"no upcaster from {event.KIND} {old}"
            self._known[event.KIND] = _Known(event, event.SCHEMA, msgspec.msgpack.Decoder(event))

    def __iter__(self) -> Iterator[type[Event]]:
        """Yield the present type of each kind."""
        return (known.event for known in self._known.values())

    def decode(self, record: Record) -> Event | None:
        """Return the event in a record as its present type, None for an unknown `note.` kind.

        Raises UnknownKind, and CorruptHistory if the bytes are not what the kind says.
        """
        known = self._known.get(record.kind)
        if known is not None and known.schema == record.schema:
            try:  # the way of nearly every record, so it takes no further call
                return known.decoder.decode(record.data)
            except msgspec.MsgspecError:
                pass  # told below, with what is wrong
        return self.decode_data(record.kind, record.schema, record.data, record.seq)

    def decode_data(self, kind: str, schema: int, data: msgspec.Raw, seq: int = 0) -> Event | None:
        """Return the event in these bytes; like `decode`, for a fact inside a plan."""
        known = self._known.get(kind)
        if known is None or schema > known.schema:
            if kind.startswith(IGNORABLE):
                return None
            raise UnknownKind(kind, schema, seq)
        try:
            if schema == known.schema:
                return known.decoder.decode(data)
            now = upcast(kind, schema, bytes(data), known.schema, self._upcasters)
            return known.decoder.decode(now)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise CorruptHistory(f"record {seq}: not a {kind} schema {schema}: {error}") from error


REGISTRY = Registry((*LOG_TYPES, *CONFIGURATION_TYPES, *JOB_TYPES), UPCASTERS)

decode = REGISTRY.decode
