"""Makes the records of a log in memory, as a leader would: seqs, versions, hashes, batches."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventstore.codec import encode_event, encode_record
from eventstore.record import FORMAT, Event, Record, Stored, chain_hash, genesis_hash

CLUSTER_ID = "6f1c7d5e-0000-4000-8000-000000000000"
START_MS = 1_790_000_000_000
Fact = tuple[str, Event]  # (stream, event)


class LogMaker:
    """Appends to a log that is a list. Time advances by `step_ms` with each batch."""

    def __init__(self, *, step_ms: int = 1000) -> None:
        self.records: list[Stored] = []
        self.versions: dict[str, int] = {}
        self._hash = genesis_hash(CLUSTER_ID)
        self._now_ms = START_MS
        self._step_ms = step_ms
        self._seq = 0

    def add(
        self, *facts: Fact, actor: str = "operator:alice", job: int | None = None
    ) -> list[Stored]:
        """Append the facts as one batch; return its records."""
        self._now_ms += self._step_ms
        batch = [
            self.append(stream, event, actor=actor, job=job, index=index, count=len(facts))
            for index, (stream, event) in enumerate(facts)
        ]
        self.records += batch
        return batch

    def add_each(self, facts: Iterable[Fact], *, job: int | None = None) -> None:
        """Append the facts, each as a batch of its own."""
        for fact in facts:
            self.add(fact, job=job)

    def append(
        self, stream: str, event: Event, *, actor: str, job: int | None, index: int, count: int
    ) -> Stored:
        """Return the next record, chained to the one before; the caller keeps it."""
        data = encode_event(event)
        return self.append_bytes(
            stream, event.KIND, event.SCHEMA, data, actor=actor, job=job, index=index, count=count
        )

    def append_bytes(
        self,
        stream: str,
        kind: str,
        schema: int,
        data: msgspec.Raw,
        *,
        actor: str = "operator:alice",
        job: int | None = None,
        index: int = 0,
        count: int = 1,
    ) -> Stored:
        """Like `append`, for an event that is bytes already."""
        seq = self._seq = self._seq + 1
        version = self.versions.get(stream, 0) + 1
        self.versions[stream] = version
        record = Record(
            v=FORMAT,
            seq=seq,
            gen=1,
            term=1,
            time=self._now_ms << 16,
            event_id=seq.to_bytes(16, "big"),
            kind=kind,
            schema=schema,
            stream=stream,
            version=version,
            actor=actor,
            origin="node1",
            job=job,
            cause=seq - 1 or None,
            key=None,
            data=data,
            index=index,
            count=count,
        )
        encoded = encode_record(record)
        self._hash = chain_hash(self._hash, encoded)
        return Stored(record, encoded, self._hash)
