"""OP_INSTANCE_CONSOLE: its node is asked, and what it says is told as Ganeti tells it."""

from __future__ import annotations

import msgspec
import pytest

from commands.errors import Refused
from commands.handler import Done, PlanOutcome
from commands.instance_ops.console import HANDLER, InstanceConsole
from nodeagent.calls import ConsoleSeen, DescribeConsole
from projections.plans import Plan
from tests.commands.building import Town, call_steps, unpacked

OP = InstanceConsole(instance_name="web1.example.net")


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            ConsoleSeen(kind="ssh", command=("socat", "STDIO", "UNIX-CONNECT:/run/a b")),
            {"kind": "ssh", "host": "node1", "user": "root",
             "command": "socat STDIO 'UNIX-CONNECT:/run/a b'"},
        ),
        (
            ConsoleSeen(kind="vnc", port=11000, display=5100),
            {"kind": "vnc", "host": "192.0.2.1", "user": None, "port": 11000, "display": 5100},
        ),
        (ConsoleSeen(kind="msg", message="none"), {"kind": "msg", "message": "none"}),
    ],
)  # fmt: skip
def test_what_the_node_says_is_told(seen: ConsoleSeen, told: dict[str, object]) -> None:
    """A screen that listens on every address is reached by that of the node."""
    town = Town()
    town.add_instance(1)
    plan = town.decide(HANDLER, OP)
    assert isinstance(plan, Plan)
    assert isinstance(unpacked(call_steps(plan)["console"]), DescribeConsole)
    answered = PlanOutcome(
        plan=plan, results={"console": msgspec.Raw(msgspec.msgpack.encode(seen))}
    )
    done = town.decide(HANDLER, OP, so_far=(answered,))
    assert isinstance(done, Done)
    assert isinstance(done.result, dict)
    assert told.items() <= done.result.items()
    assert done.result["address"] == "192.0.2.1"


def test_a_node_that_does_not_answer() -> None:
    """Is named."""
    town = Town()
    town.add_instance(1)
    town.lose(1)
    with pytest.raises(Refused, match="node1"):
        town.decide(HANDLER, OP)


def test_several_may_ask_at_once() -> None:
    """The lock is shared: nothing is changed."""
    town = Town()
    town.add_instance(1)
    assert all(lock.shared for lock in HANDLER.locks(OP, town.cluster))
