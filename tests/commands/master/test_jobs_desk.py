"""Waiting for a job: answered with news, with none when the time is over, forgotten when gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from commands.api import JobNews, WaitJob
from commands.master.jobs_desk import JobsDesk
from eventstore.errors import NotLeader
from eventstore.reactor import Reactor, Timer
from eventstore.replica import Leadership
from eventstore.serving.server import Handler, ReplyTo, Request, RequestServer
from eventstore.wire.faults import RemoteError
from projections.events import jobs as j
from projections.events.jobs import Lock
from projections.locks import LockTable
from projections.locks import Request as Request_
from projections.state import Projector
from tests.projections.stories import Story

replace = msgspec.structs.replace
LEADS = Leadership((1, 1), "node1", here=True, ready=True)


class Reply:
    """The way back to one who waits."""

    def __init__(self) -> None:
        self.closed = False
        self.on_closed: Callable[[], object] | None = None
        self.news: list[JobNews] = []

    def done(self, body: JobNews) -> None:
        self.news.append(body)
        self.closed = True

    def close(self) -> None:
        self.closed = True
        assert self.on_closed is not None
        self.on_closed()


@dataclass
class Desk:
    """The desk over a log with one job that waits for its turn."""

    story: Story = field(default_factory=Story)
    projector: Projector = field(default_factory=Projector)
    timers: list[Timer] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)
    leadership: Leadership = LEADS

    def __post_init__(self) -> None:
        self.story.found(1)
        self.job = self.story.submit("ONE")
        self.projector.apply(self.story.log.records)
        self.desk = JobsDesk(
            cast(Reactor, self),
            cast(Any, self),
            cast(Any, SimpleNamespace(get=lambda job: None)),
            state=lambda: self.projector.state,
            seen=dict,
        )
        self.desk.register(cast(RequestServer, self))

    def register(self, kind: str, roles: tuple[str, ...], handler: Handler) -> None:
        self.handlers[kind] = handler

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        self.timers.append(Timer(delay_s, callback))
        return self.timers[-1]

    def wait(self, *, timeout_s: float = 20.0, job: int = 0) -> Reply:
        wanted = WaitJob(job=job or self.job, since=10_000, timeout_s=timeout_s)
        raw = msgspec.Raw(msgspec.msgpack.encode(wanted))
        reply = Reply()
        request = Request("wait-job", "operator:alice", "operator", "key", None, 9e9, raw)
        self.handlers["wait-job"](request, cast(ReplyTo, reply))
        return reply

    def tell(self) -> None:
        added = self.story.log.add((f"job/{self.job}", j.OpStarted(op=0, handler=1)), job=self.job)
        self.projector.apply(added)
        self.desk.on_committed([stored.record for stored in added])

    def grant(self, job: int, *locks: Lock) -> None:
        """Let another job hold these."""
        self._set(self.projector.state.jobs.locks.grant(job, locks))

    def want(self, *locks: Lock) -> None:
        """Let the job wait for these."""
        self._set(self.projector.state.jobs.locks.wait(Request_(0, self.job, locks)))

    def _set(self, locks: LockTable) -> None:
        state = self.projector.state
        jobs = replace(state.jobs, locks=locks)
        self.projector.state = replace(state, jobs=jobs)

    @property
    def at_rest(self) -> bool:
        """Whether it remembers nobody and no timer is left to fire."""
        return not self.desk._waiting and all(timer.callback is None for timer in self.timers)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_news_goes_to_all_who_wait_and_nothing_is_left(desk: Desk) -> None:
    """Each is answered once; no timer fires for it later."""
    replies = [desk.wait(), desk.wait()]
    assert not replies[0].news
    desk.tell()
    assert [reply.news[0].status for reply in replies] == ["running", "running"]
    assert desk.at_rest


def test_without_news_it_is_answered_when_the_time_is_over(desk: Desk) -> None:
    """With how the job stands; a time without bounds has one."""
    reply, other = desk.wait(timeout_s=1e12), desk.wait()
    assert desk.timers[0].due == 3600.0
    callback = desk.timers[0].callback
    assert callback is not None
    callback()
    assert [news.status for news in reply.news] == ["queued"]
    assert not other.news


def test_who_waits_for_locks_is_told_whose_and_which_by_their_names(desk: Desk) -> None:
    """A lock that stands in nobody's way is not named, nor more than a person reads."""
    node = desk.story.nodes[0]
    for job, lock in ((7, Lock(f"node/{node}")), (8, Lock("name/b")), (9, Lock("name/c"))):
        desk.grant(job, lock)
    desk.want(Lock("name/a"), Lock(f"node/{node}"), Lock("name/b"))
    (news,) = desk.wait(timeout_s=0).news
    assert news.waits_for == ("job 7 (node/node1.example.net)", "job 8 (name/b)")
    many = [Lock(f"name/{number}") for number in range(8)]
    desk.grant(10, *many)
    desk.want(*many)
    (news,) = desk.wait(timeout_s=0).news
    assert news.waits_for == ("job 10 (name/0, name/1, name/2, name/3, name/4, 3 more)",)


def test_who_has_gone_is_forgotten(desk: Desk) -> None:
    """A job that stands still for months gathers nobody."""
    desk.wait().close()
    assert desk.at_rest
    desk.tell()


def test_a_job_that_the_leader_does_not_know_is_denied(desk: Desk) -> None:
    """With the number of the last one."""
    with pytest.raises(RemoteError, match="there is no job 9") as denied:
        desk.wait(job=9)
    assert denied.value.hint == "the last one is 1"


@pytest.mark.parametrize("here", [False, True])
def test_a_voter_that_may_lag_denies_no_job(desk: Desk, here: bool) -> None:
    """A follower, and a leader that has not committed yet, send whoever asks on; a job that they
    know of they tell themselves."""
    desk.leadership = Leadership((1, 1), "node2", here=here, ready=False)
    with pytest.raises(NotLeader) as told:
        desk.wait(job=9)
    assert told.value.leader == "node2"
    assert not desk.wait().closed


def test_who_waits_for_a_job_that_needs_attention_is_told_so(desk: Desk) -> None:
    """It goes on only when somebody decides, so waiting alone does not help."""
    before = len(desk.story.log.records)
    parked = desk.story.submit("PARKED")
    desk.projector.apply(desk.story.log.records[before:])
    stream = f"job/{parked}"
    for event in (j.OpStarted(op=0, handler=1), j.OpParked(op=0, code="x", message="y")):
        desk.projector.apply(desk.story.log.add((stream, event), job=parked))
    desk.grant(parked, Lock("name/a"))
    desk.want(Lock("name/a"))
    (news,) = desk.wait(timeout_s=0).news
    assert news.waits_for == (f"job {parked} (name/a), which needs attention",)
