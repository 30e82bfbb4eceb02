"""What clients ask of the projections: rows, names, digests; of any moment (edge)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from commands import api, os_definitions
from commands.errors import WRONG_INPUT
from commands.master.answers import reading
from commands.master.history import EndedJobs
from commands.master.past import Past
from eventstore.serving.server import ReplyTo, Request, RequestServer
from eventstore.wire.faults import RemoteError
from nodeagent.calls import NodeStatus
from projections.changes import fields_of
from projections.cluster import TABLES
from projections.digest import Digest
from projections.query.evaluate import answer
from projections.query.job_fields import JobRow
from projections.query.table import World
from projections.state import State, digest_of

READERS = ("operator", "gateway", "auditor")
_MOST_NAMES = 10_000


class ReadsDesk:
    """Answers clients from the projections."""

    def __init__(
        self,
        past: Past,
        ended: EndedJobs,
        *,
        state: Callable[[], State],
        digest: Callable[[], Digest],
        seen: Callable[[], Mapping[str, NodeStatus]],
    ) -> None:
        self._past = past
        self._ended = ended
        self._state = state
        self._digest = digest
        self._seen = seen

    def register(self, server: RequestServer) -> None:
        """Serve the kinds that read."""
        server.register("query", READERS, reading(self._query))
        server.register("names", READERS, reading(self._names))
        server.register("fields", READERS, reading(self._fields))
        server.register("digest", READERS, reading(self._digests))

    def _query(self, request: Request, reply: ReplyTo) -> None:
        query = request.decode(api.Query)
        self._past.at(
            query.at, reply, lambda state: state, lambda state: self._answer(query, state, reply)
        )

    def _answer(self, query: api.Query, state: State, reply: ReplyTo) -> None:
        now = state is self._state()
        world = World(state.cluster, self._seen() if now else None)
        jobs: list[JobRow] = []
        if query.what == "job":
            jobs = self._jobs(query, state, now=now)
        table = answer(
            query.what,
            world,
            fields=query.fields,
            names=query.names,
            where=query.filter,
            jobs=jobs,
            locks=state.jobs.locks,
        )
        reply.done(
            api.QueryReply(
                fields=tuple(
                    api.Field(name=each.name, title=each.title, kind=each.kind, doc=each.doc)
                    for each in table.columns
                ),
                rows=table.rows,
                as_of=state.seq,
                time_ms=state.unix_ms,
            )
        )

    def _jobs(self, query: api.Query, state: State, *, now: bool) -> list[JobRow]:
        """Return the rows of jobs; of a moment of the past, those that were open then."""
        rows = [JobRow(job) for job in state.jobs.open.values()]
        if now:
            rows += self._ended.rows(query.fields, query.names, archived=query.archived)
        return rows

    def _names(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(api.Names)
        names = (name for name in self._known(wanted.table) if name.startswith(wanted.prefix))
        reply.done(api.NamesReply(names=tuple(sorted(names)[: min(wanted.limit, _MOST_NAMES)])))

    def _known(self, table: str) -> Iterable[str]:
        match table:
            case "os":
                return os_definitions.known_names(self._seen())
            case "allocator":
                told = (status.allocators or () for status in self._seen().values())
                return {"hail", *(name for names in told for name in names)}
            case "job":
                return map(str, (*self._state().jobs.open, *self._ended.recent()))
            case _ if table in TABLES:
                return self._state().cluster.names_of(table)
        known = ", ".join((*TABLES, "allocator", "job", "os"))
        raise RemoteError(WRONG_INPUT, f"no table {table!r}", hint=f"one of {known}")

    def _fields(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(api.Fields)
        self._past.at(
            wanted.at,
            reply,
            lambda state: fields_of(state.cluster, wanted.table, wanted.key),
            lambda found: reply.done(
                api.FieldsReply(
                    uuid=found.uuid,
                    name=found.name,
                    values=dict(found.values),
                    seqs=dict(found.seqs),
                )
            ),
        )

    def _digests(self, request: Request, reply: ReplyTo) -> None:
        seq = request.decode(api.Digest).seq
        if seq is None or seq >= self._state().seq:
            self._tell_digest(self._digest(), reply)
        else:
            moment = api.Moment(seq=seq)
            self._past.at(moment, reply, digest_of, lambda digest: self._tell_digest(digest, reply))

    def _tell_digest(self, digest: Digest, reply: ReplyTo) -> None:
        reply.done(
            api.DigestReply(
                seq=digest.seq,
                fold=digest.fold,
                digests={
                    "configuration": digest.configuration,
                    "jobs": digest.jobs,
                    "changes": digest.changes,
                },
            )
        )
