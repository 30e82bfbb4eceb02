"""What to say of a wait that ran out: what did not come true, of which object, what helps (pure).

The fold of a wait that fires knows no names, so the words are made where the opcode turns back,
from the configuration of that moment, and recorded there.
"""

from __future__ import annotations

from collections.abc import Callable

from projections.cluster import Cluster
from projections.job_state import Problem
from projections.plans import Condition, Wait
from projections.step_folds import LATE

Words = tuple[str, str]  # what did not come true, and what helps


def late(step: Wait, cluster: Cluster) -> Problem:
    """Return why an opcode cannot go on whose wait for a condition was in vain."""
    assert step.until is not None, "a wait for a time alone cannot run out"
    what, hint = _WORDS.get(step.until.kind, _anything)(step.until, cluster)
    message = f"{what} within {step.timeout_s:g} s"
    return Problem(code=LATE, message=message, hint=hint, step=step.id)


def _node_joined(until: Condition, cluster: Cluster) -> Words:
    name = _node(until, cluster)
    hint = (
        f"is {name} up, does its agent run, and has it this invitation's ticket? Its log says;"
        f" then again: gnt-node add {name}, which makes a new ticket"
    )
    return f"{name} did not join", hint


def _node_heard(until: Condition, cluster: Cluster) -> Words:
    return f"{_node(until, cluster)} was not heard", "start its agent; its log says what it lacks"


def _disk_synced(until: Condition, cluster: Cluster) -> Words:
    instance = cluster.instances.get(until.subject)
    if instance is None:
        return f"instance {until.subject} is gone, so its disks were not in sync", ""
    at = [index for index, disk in enumerate(instance.disks) if disk.uuid == until.argument]
    which = f"disk {at[0]}" if at else "the disks"
    hint = (
        f"gnt-instance info {instance.name} shows how far it is; a faster copy: gnt-cluster modify"
        " -D drbd:resync-rate=KIBPS"
    )
    return f"{which} of {instance.name} did not get in sync", hint


def _no_voter(until: Condition, cluster: Cluster) -> Words:
    return (
        f"the master daemon on {_node(until, cluster)} was not taken out",
        "gnt-log status shows the voters: with a majority of them up, try again",
    )


def _anything(until: Condition, cluster: Cluster) -> Words:
    argument = f" ({until.argument})" if until.argument else ""
    return f"{until.kind}{argument} of {until.subject} did not come true", ""


def _node(until: Condition, cluster: Cluster) -> str:
    node = cluster.nodes.get(until.subject)
    return f"node {until.subject}" if node is None else node.name


_WORDS: dict[str, Callable[[Condition, Cluster], Words]] = {
    "node-joined": _node_joined,
    "node-heard": _node_heard,
    "disk-synced": _disk_synced,
    "no-voter": _no_voter,
}
