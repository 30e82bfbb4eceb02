"""Which nodes an opcode may use: in reach, and fit for what it wants there (pure).

unreachable   offline, lost or not yet joined: a call to it cannot be answered
drained       takes no new instances, but what is there goes on
"""

from __future__ import annotations

from commands.errors import WRONG_STATE, Refused
from projections.objects import Node


def why_unreachable(node: Node) -> str:
    """Return why no call can be made to the node now, or "" if one can."""
    if node.offline:
        return "is marked offline"
    if not node.joined:
        return "has not joined the cluster yet"
    if node.lost:
        return "is not heard of"
    return ""


def why_not_for_instances(node: Node) -> str:
    """Return why the node cannot take a new instance, or "" if it can."""
    if not node.vm_capable:
        return "is not vm_capable"
    return why_unreachable(node) or ("is drained" if node.drained else "")


def require_reachable(node: Node) -> Node:
    """Return the node. Raises Refused if no call can be made to it."""
    if problem := why_unreachable(node):
        raise Refused(WRONG_STATE, f"node {node.name} {problem}", hint=_way_out(node))
    return node


def require_for_instances(node: Node) -> Node:
    """Return the node. Raises Refused if it cannot take a new instance, or a side of a disk."""
    if problem := why_not_for_instances(node):
        raise Refused(WRONG_STATE, f"node {node.name} {problem}", hint=_way_out(node))
    return node


def _way_out(node: Node) -> str:
    if not node.vm_capable:
        return f"take another node, or: gnt-node modify --vm-capable=yes {node.name}"
    if node.offline:
        return f"when it is up again: gnt-node modify --offline=no {node.name}"
    if not node.joined:
        return "wait until gnt-node add has ended, or take another node"
    if node.lost:
        return (
            f"start its agent; if the machine is powered off, say so: "
            f"gnt-node modify --offline=yes {node.name}"
        )
    return f"take another node, or: gnt-node modify --drained=no {node.name}"
