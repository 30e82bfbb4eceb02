"""Asking a handler: what it is given."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from commands.engine.context import Context
from commands.engine.deciding import Succeeded, decide
from commands.engine.draws import SeededDraws
from commands.engine.preview import preview
from commands.engine.timers import Timers
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode, pack
from commands.registry import Registry
from nodeagent.calls import NodeStatus
from projections.cluster import Cluster
from projections.job_state import OpState, PlanState, Problem
from projections.objects import ClusterInfo
from projections.plans import Plan
from projections.state import State


class Tell(Opcode, frozen=True, kw_only=True):
    """Say what was given of which node."""

    NAME: ClassVar[str] = "OP_TEST_TELL"


def told(op: Tell, cluster: Cluster, given: Given, so_far: Outcomes) -> Done:
    """Return the free memory of every node that was seen."""
    return Done({node: status.memory_free_mib for node, status in sorted(given.seen.items())})


def status(node: str, free_mib: int) -> NodeStatus:
    """Return a status in which only the free memory matters."""
    return NodeStatus(node, "boot", 4096, free_mib, 0, 0, 0, 1, 1, 1)


def around(heard: dict[str, NodeStatus]) -> Context:
    """Return what decisions are made in, with what was heard last."""
    return Context(
        "cluster",
        Registry({}, handlers=[Handler(Tell, told, looks_at=lambda op, cluster: heard)]),
        SeededDraws("test", lambda: 1_000),
        lambda nodes: heard,
        Timers(lambda: 0.0),
        frozenset(),
    )


def ask(op: OpState, heard: dict[str, NodeStatus]) -> object:
    """Ask the handler when this was heard last."""
    decided = decide(around(heard), Cluster(), 1, 0, op)
    assert isinstance(decided, Succeeded)
    return msgspec.msgpack.decode(decided.result)


def planned(**seen: NodeStatus) -> PlanState:
    """Return a plan that is through and was decided on these statuses."""
    given = Given(now_ms=1, seed=bytes(16), seen=seen)
    return PlanState(
        plan=Plan(steps=()), given=msgspec.Raw(msgspec.msgpack.encode(given)), steps=()
    )


def test_a_new_leader_knows_what_the_opcode_was_given_before() -> None:
    """A node that has not reported to it yet is as it was when an earlier plan was made."""
    op = OpState(op=pack(Tell()), summary="TELL", handler=1, plans=(planned(a=status("a", 10)),))
    assert ask(op, {}) == {"a": 10}


def test_what_was_heard_since_counts_more() -> None:
    """The newest word of each node is given: of earlier plans the last, and then the present."""
    plans = (
        planned(a=status("a", 10), b=status("b", 20)),
        planned(a=status("a", 11), b=status("b", 21)),
    )
    op = OpState(op=pack(Tell()), summary="TELL", handler=1, plans=plans)
    assert ask(op, {"b": status("b", 22)}) == {"a": 11, "b": 22}


def test_nothing_begins_in_a_cluster_that_was_destroyed() -> None:
    """It is refused in words; the opcode that destroyed it still ends as it should."""
    info = ClusterInfo(uuid="c", name="town", destroyed=True)
    gone = Cluster().put("cluster", "c", info, 1)
    begins = OpState(op=pack(Tell()), summary="TELL", handler=1, plans=())
    refused = decide(around({}), gone, 1, 0, begins)
    assert isinstance(refused, Problem)
    assert (refused.code, refused.message) == (WRONG_STATE, "the cluster town was destroyed")
    ends = OpState(op=pack(Tell()), summary="TELL", handler=1, plans=(planned(),))
    assert isinstance(decide(around({}), gone, 1, 0, ends), Succeeded)


def test_a_dry_run_in_a_cluster_that_was_destroyed_is_refused() -> None:
    """In the same words."""
    info = ClusterInfo(uuid="c", name="town", destroyed=True)
    gone = State(cluster=Cluster().put("cluster", "c", info, 1))
    with pytest.raises(Refused, match="the cluster town was destroyed"):
        preview(around({}), gone, Tell(), as_of=1)
