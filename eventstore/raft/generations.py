"""Forced takeovers (REPLICATION R2, 3.5; pure).

When a majority is lost, an operator may make one voter the only one. That starts a generation: its
epochs are above all of the old, and the old majority, should it still live, can commit what the new
generation never sees. Therefore a higher generation is not believed from a header, as a higher term
is. It is adopted only with its `log.takeover-forced` record, found good by `trusts` (which checks
the operator's signature; keys are not known here). The leader shows that record with each heartbeat
to whoever is of an older generation, beside the entries, so it does not matter how far behind it
stands in the log.

- A voter whose log agrees with the leader's as far as it is committed here goes over; what it had
  beyond that is cut off where it differs, as always.
- A voter that had *committed* something beyond the fork does not: its history and the new one
  contradict each other. It stops leading, voting and writing ("superseded"), keeps its files as
  evidence, and comes back with a new storage. So does one that has lost the mark's records.
- A storage that holds nothing yet, and has said nothing, joins whatever generation it is sent.
- A leader of the new generation that is refused for its generation starts over from the refusing
  voter's committed end: there the two agree, or it is shown where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from eventstore.codec import decode_record
from eventstore.events import TakeoverForced
from eventstore.raft.entry import Packed
from eventstore.raft.entry_log import EntryLog
from eventstore.raft.membership import Config
from eventstore.record import Record

TrustTakeover = Callable[[Record], bool]


def takeover_in(shown: Packed, gen: int, trusts: TrustTakeover) -> bool:
    """Say whether a takeover into generation `gen` is shown that can be trusted.

    Raises DecodeError if what is shown is no records.
    """
    return any(
        record.kind == TakeoverForced.KIND and record.gen == gen and trusts(record)
        for record in map(decode_record, shown)
    )


def takeover_of(log: EntryLog, configs: Iterable[Config], gen: int) -> Packed:
    """Return the batch that began generation `gen`, () if no takeover did."""
    for config in configs:
        entry = log.entry_at(config.seq)
        if entry is None or entry.epoch.gen != gen:
            continue
        if any(stored.record.kind == TakeoverForced.KIND for stored in entry.records):
            return entry.packed()
    return ()


def trust_none(_record: Record) -> bool:
    """Trust no takeover: what a voter does that was given no operators' keys."""
    return False
