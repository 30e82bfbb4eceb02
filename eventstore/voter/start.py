"""What a voter's files say at its start: members, places, what is committed for certain (edge).

The index is a cache that may lag: what it does not hold yet is read from the log itself. On a lone
voter nobody else can hold anything else, so all of the log is committed; among others only what the
index holds is, since it holds nothing that was not, and the first batch, with which the cluster
began. That one admits the founder's key: even voters that have all lost what they had said, index
and all, can be asked how they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eventstore.access.places import KINDS as PLACE_KINDS
from eventstore.access.places import Places
from eventstore.codec import decode_event
from eventstore.events import STREAM, LogCreated, TakeoverForced, VotersChanged
from eventstore.raft.core import Restart
from eventstore.raft.membership import Config, config_in
from eventstore.raft.state import Identity
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.indexer import Indexer
from eventstore.voter.storage import StoredEntries, VoterStorage

_CONFIG_KINDS = (VotersChanged.KIND, TakeoverForced.KIND)


@dataclass(frozen=True, slots=True)
class Found:
    """A voter's files, open, and what they say."""

    storage: VoterStorage
    entries: StoredEntries
    indexer: Indexer  # not yet started
    index: IndexReader
    configs: Sequence[Config]  # every one in the log, in order
    places: Places  # those given by the operator, and those in the log
    committed: int  # the end of a batch that is certainly committed

    def restart(self, voter: str) -> Restart:
        """Return what the core begins with."""
        meta = self.storage.log.meta
        return Restart(
            cluster_id=meta.cluster_id,
            me=Identity(voter, meta.inc),
            hard=self.storage.hard,
            mark=self.storage.mark.mark,
            last=self.storage.head,
            committed=self.committed,
            configs=self.configs,
        )

    def origin(self) -> str:
        """Return the log's name, which its first record says. Only once there is one."""
        (first,) = self.storage.reader.stored(1, 1)
        return decode_event(LogCreated, first.record.data).origin


def look_through(storage: VoterStorage, indexer: Indexer, voter: str, places: Places) -> Found:
    """Return what the files say. Raises CorruptLog for a lone voter that lacks what it said."""
    index, entries = IndexReader(storage.layout.index), StoredEntries(storage.reader)
    configs = list(_configurations(storage, entries, index, places))
    if storage.head and configs[-1].alone(voter):
        storage.check_alone()
        indexer.catch_up(storage.head)  # nobody else can hold anything else
    first = entries.entry_at(1)
    committed = max(_whole(entries, index.seq), first.last if first else 0)
    return Found(storage, entries, indexer, index, configs, places, committed)


def _configurations(
    storage: VoterStorage, entries: StoredEntries, index: IndexReader, places: Places
) -> Iterator[Config]:
    """Yield the configurations of the log, and note the places in it, in order."""
    head, indexed = storage.head, index.seq
    if head == 0:
        return
    first = entries.entry_at(1)
    begun = config_in(first) if first else None
    if first and begun:
        places.apply(first.records)
        yield begun
    kinds = (*_CONFIG_KINDS, *PLACE_KINDS)
    marks = ", ".join("?" * len(kinds))
    found = index.seqs(f"stream = ? AND kind IN ({marks})", (STREAM, *kinds))
    seqs = [seq for seq in found if seq <= indexed]
    after = storage.reader.stored(indexed + 1, head)
    seqs += [s.record.seq for s in after if s.record.stream == STREAM]
    done = first.last if first else 0
    for seq in seqs:
        if seq > done and (entry := entries.entry_at(seq)) is not None:
            done = entry.last
            places.apply(entry.records)
            if config := config_in(entry):
                yield config


def _whole(entries: StoredEntries, seq: int) -> int:
    """Return the end of the last whole batch up to `seq`: the index may end within one."""
    entry = entries.entry_at(seq) if seq else None
    return seq if entry is None or entry.last == seq else entry.first - 1
