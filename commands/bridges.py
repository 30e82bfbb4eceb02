"""Whether a node has the bridges that an instance needs, as it last reported (pure).

They are looked for before anything is made, as in Ganeti. What a node has is telemetry, a few
seconds old at most; of a node that has not said it nothing is refused here: its agent looks again
before it connects an interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from commands.errors import ENVIRONMENT_ERROR, Refused
from nodeagent.calls import NodeStatus
from projections import params
from projections.cluster import Cluster
from projections.objects import Nic, Node


def links(cluster: Cluster, nics: Iterable[Nic]) -> tuple[str, ...]:
    """Return the bridges that these interfaces are connected to, sorted."""
    filled = (params.of_nic(cluster, nic) for nic in nics)
    return tuple(sorted({str(each["link"]) for each in filled if each["mode"] == "bridged"}))


def require(
    cluster: Cluster, seen: Mapping[str, NodeStatus], node: Node, nics: Iterable[Nic]
) -> None:
    """Raise Refused, with the bridges that there are, if `node` lacks one for these interfaces."""
    status = seen.get(node.uuid)
    if status is None or status.bridges is None:
        return
    missing = [link for link in links(cluster, nics) if link not in status.bridges]
    if missing:
        known = ", ".join(status.bridges)
        raise Refused(
            ENVIRONMENT_ERROR,
            f"node {node.name} has no bridge {', '.join(missing)}",
            hint=f"make it there; or link=... of a NIC: there is {known or 'none'}",
        )
