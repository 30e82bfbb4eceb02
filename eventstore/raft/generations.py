"""Forced takeovers (REPLICATION R2, 3.5; pure).

When a majority is lost, an operator may make one voter the only one. That starts a generation: its
epochs are above all of the old, and the old majority, should it still live, can commit what the new
generation never sees. Therefore a higher generation is not believed from a header, as a higher term
is. It is adopted only together with its `log.takeover-forced` record, chained to this voter's own
log and found good by `trusts` (which checks the operator's signature; keys are not known here).

- A voter whose log agrees up to the fork takes the record like any other, truncates what it had
  above, and goes on in the new generation.
- A voter that had *committed* something beyond the fork does not: its history and the new one
  contradict each other. It stops leading, voting and writing ("superseded"), keeps its files as
  evidence, and comes back with a new storage. So does one that has lost the mark's records.
- A storage that holds nothing yet, and has said nothing, joins whatever generation it is sent.
- A leader of the new generation that is refused for its generation starts over from the refusing
  voter's committed end, so that the takeover's record is among what it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventstore.events import TakeoverForced
from eventstore.raft.entry import Entry
from eventstore.record import Record

TrustTakeover = Callable[[Record], bool]


def takeover_in(entries: Sequence[Entry], gen: int, trusts: TrustTakeover) -> bool:
    """Say whether the entries hold a takeover into generation `gen` that can be trusted."""
    return any(
        stored.record.kind == TakeoverForced.KIND
        and stored.record.gen == gen
        and trusts(stored.record)
        for entry in entries
        for stored in entry.records
    )


def trust_none(_record: Record) -> bool:
    """Trust no takeover: what a voter does that was given no operators' keys."""
    return False
