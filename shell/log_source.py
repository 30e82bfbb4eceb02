"""Where gnt-log reads: a directory on this machine, or the cluster by range requests (edge).

Both are a `projections.past.History`. A directory shows what is durable there, also without any
daemon; the cluster shows what is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from eventstore.record import Stored
from eventstore.wire.messages import HeadReply, RangeReply, RangeRequest, to_stored
from shell.failure import Failure
from shell.parsing import Words
from shell.session import Session

LOG = "log"  # the log's directory within a master's


class Source(Protocol):
    """What is read of a log."""

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""

    @property
    def head(self) -> int:
        """Seq of the last record."""

    def records(self, first: int, last: int) -> Sequence[Stored]:
        """Return the records first..last, as far as there are any."""

    def iterate(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """Yield the records first..last."""

    def stream(self, name: str, from_version: int = 1) -> Iterator[Stored]:
        """Yield the records of a stream, in order."""

    def job(self, job: int) -> Iterator[Stored]:
        """Yield the records that serve a job, in order."""

    def seq_at(self, time_ms: int) -> int:
        """Return the seq of the last record up to this time, 0 if there is none."""


class RemoteLog:
    """The committed log of the cluster, as of the head that it had when this was made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.about = session.ask("head", None, HeadReply)

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""
        return self.about.cluster_id

    @property
    def head(self) -> int:
        """Seq of the last committed record."""
        return self.about.seq

    def records(self, first: int, last: int) -> Sequence[Stored]:
        """Return the records first..last, as far as there are any."""
        return list(self.iterate(first, last))

    def iterate(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """Yield the records first..last, a reply in memory at a time."""
        upto = self.head if last is None else min(last, self.head)
        return self._range(max(1, first), upto, "")

    def stream(self, name: str, from_version: int = 1) -> Iterator[Stored]:
        """Yield the records of a stream, in order."""
        return self._range(from_version, 0, name)

    def job(self, job: int) -> Iterator[Stored]:
        """Yield the records that serve a job, in order: its own, and its tasks on nodes."""
        own = list(self.stream(f"job/{job}"))
        if not own:
            return iter(())
        first, last = own[0].record.seq, own[-1].record.seq
        return (stored for stored in self.iterate(first, last) if stored.record.job == job)

    def seq_at(self, time_ms: int) -> int:
        """Return the seq of the last record up to this time, 0 if there is none."""
        low, high = 0, self.head
        while low < high:
            middle = (low + high + 1) // 2
            if self.records(middle, middle)[0].record.unix_ms <= time_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def _range(self, first: int, last: int, stream: str) -> Iterator[Stored]:
        if last and first > last:
            return
        while True:
            body = RangeRequest(first, last, stream=stream)
            reply = self._session.ask("range", body, RangeReply)
            found = to_stored(reply.records)
            yield from found
            if not reply.more or not found:
                return
            end = found[-1].record
            first = (end.version if stream else end.seq) + 1


def directory_of(session: Session, words: Words) -> Path | None:
    """Return the directory that `--dir` names, or the one of a master daemon on this machine.

    None: there is none here, ask the cluster. Raises Failure if `--dir` names no log.
    """
    typed = words.get("dir")
    if typed:
        for path in (Path(typed), Path(typed) / LOG):
            if (path / "log.sqlite").exists():
                return path
        raise Failure(f"there is no log in {typed}", hint="--dir names a log's directory")
    master = session.config.config.master
    if master is None:
        return None
    path = session.config.resolve(master.directory) / LOG
    return path if (path / "log.sqlite").exists() else None


def open_source(session: Session, words: Words) -> Source:
    """Return the log to read: the directory of `--dir`, else the cluster."""
    if words.get("dir"):
        return local_log(directory_of(session, words))
    return RemoteLog(session)


def local_log(directory: Path | None) -> Source:
    """Return the log in a directory."""
    from eventstore.storage.log_view import LogView

    assert directory is not None
    return LogView(directory)
