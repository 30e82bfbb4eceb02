"""What a subscriber knows, lacks and may hand on, whatever order records come in (pure).

Records arrive by publication (may be lost, late, or twice) and by fetched range (complete, but as
of an earlier moment). A follower hands on each record once, in order:

    next record        handed on, with all that were kept and follow it
    known record       dropped
    later record       kept, up to `_KEPT`; the gap is to be fetched

`Log` follows the whole log by `seq` and checks each hash against the one before it. It hands on
whole batches only. `Streams` follows some streams by `version`; it cannot see the chain, because
the records between are not there. A heartbeat's head tells it only that *something* was committed.
So a stream is *checked* as of a seq, by a dense publication or a complete fetch, and at times is
asked for again if the head has moved on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from eventstore.errors import CorruptLog
from eventstore.record import Stored, chain_hash, genesis_hash
from eventstore.wire.messages import WHOLE_LOG_TOPIC, RangeRequest, topic_of

_KEPT = 4096  # records that came too early


class Follower(Protocol):
    """What a subscription needs to know about what it follows."""

    def topics(self) -> list[bytes]:
        """Return what to subscribe to."""

    def take(self, records: Sequence[Stored], *, checked_to: int) -> list[Stored]:
        """Return the records that may be handed on now, in order.

        The records' sender had sent all that we follow up to seq `checked_to`.
        Raises CorruptLog if they contradict what is known.
        """

    def hear(self, head: int, *, gen: int) -> None:
        """The log had committed `head` records, in this generation."""

    def check(self) -> None:
        """Doubt whether what came is all that there was up to the head: `wanted` asks again."""

    @property
    def gap(self) -> bool:
        """Whether something is surely missing."""

    def wanted(self) -> RangeRequest | None:
        """Return what to fetch next, if there may be news."""

    def fetched(
        self,
        request: RangeRequest,
        records: Sequence[Stored],
        *,
        more: bool,
        as_of: int,
        leads: bool,
    ) -> list[Stored]:
        """Take the answer to a `wanted` range; as `take`.

        `leads`: the answering voter led, and so held all that was ever committed.
        """


class Log:
    """Follows the whole log, from behind record `seq` with hash `digest` on."""

    def __init__(self, seq: int, digest: bytes) -> None:
        self._seq = seq  # the last record that was chained
        self._hash = digest
        self._kept: dict[int, Stored] = {}
        self._batch: list[Stored] = []  # chained, but its batch is not complete
        self._head = seq
        self._gen = 0
        # Whether the last known record has yet to be compared with the log's: at the start, as the
        # log may have been replaced since, and after a forced takeover.
        self._recheck = seq > 0

    @classmethod
    def from_start(cls, cluster_id: str) -> Log:
        """Follow from the first record on."""
        return cls(0, genesis_hash(cluster_id))

    def topics(self) -> list[bytes]:
        """Return the topic of the whole log."""
        return [WHOLE_LOG_TOPIC]

    @property
    def gap(self) -> bool:
        """Whether a record is committed that is not chained yet, or the last one is in doubt."""
        return self._head > self._seq or self._recheck

    def hear(self, head: int, *, gen: int) -> None:
        """The log had committed `head` records.

        A new generation was forced by an operator, and committed records may be gone: the last
        known one is fetched again and compared.
        """
        self._head = max(self._head, head)
        if gen > self._gen:
            self._recheck = self._recheck or (self._gen > 0 and self._seq > 0)
            self._gen = gen

    def take(self, records: Sequence[Stored], *, checked_to: int) -> list[Stored]:
        """Return the batches that are complete now. Raises CorruptLog if the chain is broken."""
        ready: list[Stored] = []
        for stored in records:
            seq = stored.record.seq
            self._head = max(self._head, seq)
            if seq == self._seq and stored.hash != self._hash:
                raise CorruptLog(f"record {seq} is not the one that was there before", seq=seq)
            if seq == self._seq + 1:
                ready += self._chain(stored)
            elif seq > self._seq and len(self._kept) < _KEPT:
                self._kept[seq] = stored
        return ready

    def check(self) -> None:
        """Nothing to doubt: a gap in the whole log shows."""

    def wanted(self) -> RangeRequest | None:
        """Return the range behind the last chained record, or from it on if it is in doubt."""
        return RangeRequest(self._seq if self._recheck else self._seq + 1)

    def fetched(
        self,
        request: RangeRequest,
        records: Sequence[Stored],
        *,
        more: bool,
        as_of: int,
        leads: bool,
    ) -> list[Stored]:
        """Take a range of the log. A voter that lags cannot clear up a doubt; the leader must."""
        if self._recheck and leads and as_of < self._seq:
            raise CorruptLog(
                f"the log ends at {as_of}, but record {self._seq} was committed once",
                hint="a forced takeover dropped records; `gnt-log verify` says more",
                seq=self._seq,
            )
        if records and records[0].record.seq == self._seq:
            ready = self.take(records, checked_to=as_of)  # compares it, and raises if it differs
            self._recheck = False
            return ready
        return self.take(records, checked_to=as_of)

    def _chain(self, stored: Stored) -> list[Stored]:
        """Check and take the next record and those kept behind it; return what is whole now."""
        ready: list[Stored] = []
        following: Stored | None = stored
        while following is not None:
            record = following.record
            if chain_hash(self._hash, following.encoded) != following.hash:
                raise CorruptLog(
                    f"record {record.seq} does not follow from the one before it", seq=record.seq
                )
            self._seq, self._hash = record.seq, following.hash
            self._batch.append(following)
            if record.index == record.count - 1:
                ready += self._batch
                self._batch = []
            following = self._kept.pop(self._seq + 1, None)
        return ready


class _Stream:
    """One stream: the last version handed on, and as of which seq that is known to be all."""

    __slots__ = ("checked", "kept", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.checked = -1
        self.kept: dict[int, Stored] = {}

    def take(self, stored: Stored) -> list[Stored]:
        """Return the record and those kept behind it, if it is the next one; else keep or drop."""
        version = stored.record.version
        if version > self.version + 1 and len(self.kept) < _KEPT:
            self.kept[version] = stored
        if version != self.version + 1:
            return []
        ready = [stored]
        while (following := self.kept.pop(version + 1, None)) is not None:
            ready.append(following)
            version += 1
        self.version = version
        return ready


class Streams:
    """Follows some streams, each from behind a version on (0: from its first record)."""

    def __init__(self, positions: Mapping[str, int]) -> None:
        self._streams = {name: _Stream(version) for name, version in positions.items()}
        self._head = 0
        self._doubted = 0  # each stream is asked for until it is checked as of this seq

    @property
    def positions(self) -> dict[str, int]:
        """The version of each stream that was handed on last: where to resume."""
        return {name: stream.version for name, stream in self._streams.items()}

    def topics(self) -> list[bytes]:
        """Return one topic for each stream."""
        return [topic_of(name) for name in self._streams]

    def rewind(self, name: str, version: int) -> None:
        """Hand on the records of a stream again, from behind `version` on."""
        self._streams[name] = _Stream(version)

    @property
    def gap(self) -> bool:
        """Whether a later version of some stream came than the one that is next."""
        return any(stream.kept for stream in self._streams.values())

    def hear(self, head: int, *, gen: int) -> None:
        """The log had committed `head` records, perhaps some of ours."""
        self._head = max(self._head, head)

    def check(self) -> None:
        """Ask each stream once more; not again before the next call, though the head moves on."""
        self._doubted = self._head

    def take(self, records: Sequence[Stored], *, checked_to: int) -> list[Stored]:
        """Return the records that are next. Raises CorruptLog for one of a stream not asked for."""
        ready: list[Stored] = []
        touched: dict[str, _Stream] = {}
        for stored in records:
            record = stored.record
            stream = self._streams.get(record.stream)
            if stream is None:
                raise CorruptLog(f"{record.stream} was not asked for", seq=record.seq)
            touched[record.stream] = stream
            ready += stream.take(stored)
        for stream in touched.values():
            if not stream.kept:
                stream.checked = max(stream.checked, checked_to)
        return ready

    def wanted(self) -> RangeRequest | None:
        """Return a range of a stream that has a gap, or else of one that is in doubt."""
        for name, stream in self._streams.items():
            if stream.kept:
                return RangeRequest(stream.version + 1, stream=name)
        for name, stream in self._streams.items():
            if stream.checked < self._doubted:
                return RangeRequest(stream.version + 1, stream=name)
        return None

    def fetched(
        self,
        request: RangeRequest,
        records: Sequence[Stored],
        *,
        more: bool,
        as_of: int,
        leads: bool,
    ) -> list[Stored]:
        """Take a range of a stream; complete, it says that nothing is missing as of `as_of`."""
        stream = self._streams[request.stream]
        ready = self.take(records, checked_to=-1)  # a part of an answer proves nothing
        if not more and stream.version >= request.first - 1:
            stream.checked = max(stream.checked, as_of)
        return ready
