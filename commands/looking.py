"""Asking nodes what they have free, where nothing was heard of them yet (pure).

A new leader, or a node that has just joined, has not reported. Then a first plan asks the nodes
themselves, and the decision is made on the answers. It costs one call, and only then.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from commands.disks import call
from commands.given import Given
from commands.handler import Outcomes
from nodeagent.calls import NodeCheck, NodeStatus, Probe
from projections.objects import Node
from projections.plans import Plan, names

PREFIX = "look/"
ASK = "ask/"  # of steps that ask a program, not a node (commands/allocator_call.py)


def look(nodes: Iterable[Node]) -> Plan:
    """Return the plan that asks `nodes`; one that does not answer stays unheard of."""
    return probes((node, Probe()) for node in nodes)


def probes(wanted: Iterable[tuple[Node, Probe]]) -> Plan:
    """Return the plan that asks each node its own; one that does not answer is tolerated."""
    return Plan(
        steps=tuple(
            call(
                f"{PREFIX}{node.name}",
                node.uuid,
                probe,
                resource=f"node/{node.uuid}",
                timeout_s=30.0,
                tolerate=True,
            )
            for node, probe in wanted
        )
    )


def seen(given: Given, so_far: Outcomes) -> dict[str, NodeStatus]:
    """Return the status of nodes by uuid: what was given, and what the probes brought back."""
    found = dict(given.seen)
    for outcome in so_far:
        for step, result in outcome.results.items():
            if step.startswith(PREFIX):
                status = msgspec.msgpack.decode(result, type=NodeCheck).status
                found[status.node] = status
    return found


def acted(so_far: Outcomes) -> Outcomes:
    """Return the outcomes of the plans that did more than look and ask."""
    return tuple(
        outcome
        for outcome in so_far
        if not all(step.startswith((PREFIX, ASK)) for step in names(outcome.plan.steps))
    )
