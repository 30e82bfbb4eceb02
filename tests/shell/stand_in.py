"""A master that stands in for the daemon: answers requests from a `Town`, without sockets.

Bodies are encoded and decoded as on the wire, so a test sees what a client sees.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from commands import api
from eventstore.errors import EventStoreError
from eventstore.wire.faults import RemoteError
from projections.errors import NoSuchObject, ProjectionError
from projections.query.evaluate import answer
from projections.query.job_fields import JobRow
from projections.query.table import World
from projections.state import FOLD_VERSION
from shell import config, main
from shell.session import Session
from tests.commands.building import Town

T = TypeVar("T")


@dataclass
class Master:
    """What the stand-in knows, and what it was asked."""

    town: Town = field(default_factory=Town)
    jobs: list[JobRow] = field(default_factory=list)
    submitted: list[tuple[str | None, api.Submit]] = field(default_factory=list)
    orders: list[api.JobOrder] = field(default_factory=list)
    planned: list[api.PlanRequest] = field(default_factory=list)
    news: list[api.JobNews | EventStoreError] = field(default_factory=list)  # told in this order
    plan: api.PlanReply = api.PlanReply(locks=(), steps=(), changes=())  # noqa: RUF009  # frozen
    digests: dict[str, str] = field(default_factory=dict)
    faults: list[EventStoreError] = field(default_factory=list)  # raised by the next submissions
    seen: bool = True
    queries: list[api.Query] = field(default_factory=list)

    def world(self) -> World:
        """Return what queries read."""
        cluster = self.town.cluster
        statuses = {uuid: self.town.status(uuid) for uuid in cluster.nodes}
        return World(cluster, statuses if self.seen else None)

    def ask(self, kind: str, raw: bytes, key: str | None) -> object:
        """Answer one request."""
        match kind:
            case "query":
                return self._query(msgspec.msgpack.decode(raw, type=api.Query))
            case "names":
                wanted = msgspec.msgpack.decode(raw, type=api.Names)
                known = sorted(self.town.cluster.names_of(wanted.table))
                return api.NamesReply(
                    tuple(name for name in known if name.startswith(wanted.prefix))
                )
            case "submit":
                if self.faults:
                    raise self.faults.pop(0)
                body = msgspec.msgpack.decode(raw, type=api.Submit)
                self.submitted.append((key, body))
                first = 1 + sum(len(each.jobs) for _, each in self.submitted[:-1])
                return api.Submitted(jobs=tuple(range(first, first + len(body.jobs))))
            case "plan":
                self.planned.append(msgspec.msgpack.decode(raw, type=api.PlanRequest))
                return self.plan
            case "wait-job":
                return self._news(msgspec.msgpack.decode(raw, type=api.WaitJob))
            case "job-order":
                order = msgspec.msgpack.decode(raw, type=api.JobOrder)
                self.orders.append(order)
                return api.JobOrderReply(jobs=tuple((job, True, "") for job in order.jobs))
            case "digest":
                return api.DigestReply(seq=0, fold=FOLD_VERSION, digests=self.digests)
            case "hand-over":
                to = msgspec.msgpack.decode(raw, type=api.HandOver).to
                if self.faults:
                    raise self.faults.pop(0)
                return api.HandedOver(leader=to or "node2")
            case "confirm":
                if self.faults:
                    raise self.faults.pop(0)
                return api.Confirmed(leader="node1", seq=7)
        raise AssertionError(kind)

    def _query(self, query: api.Query) -> api.QueryReply:
        self.queries.append(query)
        try:
            table = answer(
                query.what,
                self.world(),
                fields=query.fields,
                names=query.names,
                where=query.filter,
                jobs=self.jobs,
            )
        except NoSuchObject as unknown:
            raise RemoteError("unknown_entity", str(unknown), hint=unknown.hint) from None
        except ProjectionError as wrong:
            raise RemoteError("wrong_input", str(wrong)) from None
        columns = tuple(
            api.Field(name=c.name, title=c.title, kind=c.kind, doc=c.doc) for c in table.columns
        )
        return api.QueryReply(fields=columns, rows=table.rows, as_of=self.town.seq, time_ms=0)

    def _news(self, wanted: api.WaitJob) -> api.JobNews:
        if self.news:
            told = self.news.pop(0)
            if isinstance(told, EventStoreError):
                raise told
            return told
        return succeeded(wanted.job)


def succeeded(job: int, *results: object) -> api.JobNews:
    """Return the news that a job has succeeded."""
    packed = [msgspec.Raw(msgspec.msgpack.encode(result)) for result in results or (None,)]
    ops = tuple(api.OpNews(summary="TEST", status="success", result=raw) for raw in packed)
    return api.JobNews(job=job, serial=9, status="success", ended=True, ops=ops)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class StandInSession(Session):
    """A session whose cluster is a `Master`."""

    master: Master

    def ask(
        self,
        kind: str,
        body: Any,
        reply: type[T],
        *,
        timeout_s: float = 30.0,
        key: str | None = None,
    ) -> T:
        found = self.master.ask(kind, msgspec.msgpack.encode(body), key)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=reply)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


def run(
    line: str | Sequence[str],
    master: Master | None = None,
    *,
    typed: str | None = None,
    settings: config.ClientConfig | None = None,
    directory: Path = Path("/nonexistent"),
) -> Ran:
    """Run a command line. `typed` is what a person types at a terminal; None: there is none."""
    tool, *words = shlex.split(line) if isinstance(line, str) else line
    stdin = io.StringIO() if typed is None else Terminal(typed)
    settings = settings or config.ClientConfig(key_file="operator.key")
    session = StandInSession(
        out=io.StringIO(),
        err=io.StringIO(),
        stdin=stdin,
        find_config=lambda: config.Found(directory / "client.json", settings),
    )
    session.master = master if master is not None else Master()
    status = main.run(tool, words, session)
    assert isinstance(session.out, io.StringIO)
    assert isinstance(session.err, io.StringIO)
    return Ran(status, session.out.getvalue(), session.err.getvalue())
