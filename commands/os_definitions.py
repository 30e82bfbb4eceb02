"""Which OS definitions nodes have, as their agents last reported (pure).

An OS is looked for before anything is made, so that a mistyped name costs nothing. What a node has
is telemetry, a few seconds old at most; of a node that has not said it (nothing was heard of it
yet, or its agent is older) nothing is refused here: its agent looks again before it installs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from commands.errors import WRONG_INPUT, Refused
from nodeagent.calls import NodeStatus, OsSeen
from projections.objects import Node

MOST_NAMES = 10  # in a hint


def require(seen: Mapping[str, NodeStatus], node: Node, os: str) -> None:
    """Raise Refused, with the nearest names, if `node` cannot install `os` (`name+variant`)."""
    reason = _why_not(seen.get(node.uuid), os)
    if reason:
        raise Refused(WRONG_INPUT, f"node {node.name} {reason}", hint=_hint(seen, (node,), os))


def lacking(seen: Mapping[str, NodeStatus], nodes: Iterable[Node], os: str) -> dict[str, str]:
    """Return by name the nodes that cannot install `os`, and why.

    Raises Refused if none of them can: then the name is wrong rather than the nodes.
    """
    every = tuple(nodes)
    found = {node.name: why for node in every if (why := _why_not(seen.get(node.uuid), os))}
    if every and len(found) == len(every):
        hint = _hint(seen, every, os)
        raise Refused(WRONG_INPUT, f"no node can install the OS {os!r}", hint=hint)
    return found


def known_names(seen: Mapping[str, NodeStatus]) -> set[str]:
    """Return every name by which some node can install an OS."""
    found = (each for status in seen.values() for each in status.os or ())
    return {name for each in found if not each.problem for name in _names(each)}


def _why_not(status: NodeStatus | None, os: str) -> str:
    """Return why this node cannot install an OS, "" if it can or if that is not known."""
    if status is None or status.os is None:
        return ""
    name, plus, variant = os.partition("+")
    found = next((each for each in status.os if each.name == name), None)
    if found is None:
        return f"has no OS {name!r}"
    if found.problem:
        return f"has an invalid definition of OS {name}: {found.problem}"
    if plus and variant not in found.variants:
        return f"has no variant {variant!r} of OS {name}"
    return ""


def _hint(seen: Mapping[str, NodeStatus], nodes: Iterable[Node], os: str) -> str:
    found = [each for node in nodes if node.uuid in seen for each in seen[node.uuid].os or ()]
    known = sorted({name for each in found if not each.problem for name in _names(each)})
    alike = known if "+" in os else [name for name in known if "+" not in name]
    near = difflib.get_close_matches(os, alike, n=3, cutoff=0.5)
    if near and os not in known:
        return f"did you mean {' or '.join(near)}?"
    if not known:
        return "lay an OS definition down on the node; or --no-install"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return f"there are: {', '.join(known[:MOST_NAMES])}{more}"


def _names(os: OsSeen) -> tuple[str, ...]:
    """Return how an OS may be named: by itself, and with each variant."""
    return (os.name, *(f"{os.name}+{variant}" for variant in os.variants))
