"""The address by which the master is reached: what is wanted of it, and who must act (pure).

It is on the node whose voter leads, and on no other one, if the cluster has such an address and no
operator took it down. `ClusterInfo.master_ip_held` names every node that was told to take it and
has not given it up: what was told to a node that is out of reach stays there until that node is
back, and is given up then. So an old master that wakes up loses the address by the new leader's
order; its own orders are refused by every agent (epochs).

While a node is cut off, it may hold the address at the same time as the new master. Neighbours send
to whoever announced it last, the new one; behind the cut they go on to the old one, where no voter
leads and nothing is taken.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from commands.disks import call
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.nodes import why_unreachable
from nodeagent.calls import EnsureMasterAddress, RemoveMasterAddress
from projections.cluster import Cluster
from projections.objects import ClusterInfo, HeldAddress
from projections.plans import Step

RESOURCE = "master-address"
GRACE_S = 3.0  # a former holder that may be alive is given so long to let go, before it is taken
CALL_S = 30.0


class Take(NamedTuple):
    """Let the master's node take the address."""


class Drop(NamedTuple):
    """Let a node give up what it holds."""

    held: HeldAddress


def steps(cluster: Cluster, *, reign_s: float) -> list[Take | Drop]:
    """Return what is to be done, `reign_s` after this leader began; what must wait is left out."""
    wanted = wanted_address(cluster.settings)
    stale = [held for held in cluster.settings.master_ip_held if held != wanted]
    drops = [Drop(held) for held in stale if _in_reach(cluster, held.node)]
    missing = (
        wanted is not None
        and wanted not in cluster.settings.master_ip_held
        and _in_reach(cluster, wanted.node)  # not before the first node's agent has joined
    )
    # What the master's own node holds must go first: another device, or another address.
    own = any(held.node == cluster.settings.master for held in stale)
    if missing and not own and (not drops or reign_s >= GRACE_S):
        return [*drops, Take()]
    return list(drops)


def wanted_address(info: ClusterInfo) -> HeldAddress | None:
    """Return who should hold the address, and how; None if it should not be up."""
    if not (info.master_ip and info.master_netdev and info.master_ip_up and info.master):
        return None
    return HeldAddress(
        node=info.master,
        address=info.master_ip,
        prefix=info.master_netmask or ip_address(info.master_ip).max_prefixlen,
        device=info.master_netdev,
    )


def take_step(held: HeldAddress) -> Step:
    """Return the call by which it is taken, with its undo."""
    wanted = EnsureMasterAddress(address=held.address, prefix=held.prefix, device=held.device)
    return call("take", held.node, wanted, resource=RESOURCE, undo=_removal(held), timeout_s=CALL_S)


def drop_step(held: HeldAddress, node_name: str) -> Step:
    """Return the call by which a node gives it up; its failure stops nothing else."""
    removal = _removal(held)
    step = f"drop/{node_name}"
    return call(
        step, held.node, removal, resource=RESOURCE, timeout_s=CALL_S, final=True, tolerate=True
    )


def with_checked_address(info: ClusterInfo) -> ClusterInfo:
    """Return the settings, the address as it is written usually. Raises Refused."""
    if not info.master_ip:
        if info.master_netdev:
            raise Refused(
                WRONG_INPUT,
                f"there is no address for {info.master_netdev}",
                hint="give --master-ip too, or a cluster name that resolves",
            )
        return info
    try:
        address = ip_address(info.master_ip)
    except ValueError:
        raise Refused(
            WRONG_INPUT, f"{info.master_ip!r} is no address", hint="such as 192.0.2.9"
        ) from None
    if not 0 <= info.master_netmask <= address.max_prefixlen:
        raise Refused(
            WRONG_INPUT,
            f"a network of {info.master_netmask} bits cannot be",
            hint=f"1 to {address.max_prefixlen}; {address.max_prefixlen} is the address alone",
        )
    return msgspec.structs.replace(info, master_ip=str(address))


def netmask(text: str) -> int:
    """Return the bits of a netmask as it is typed: a number (Ganeti's CIDR form). Raises Refused"""
    if not text.isdecimal():
        raise Refused(
            WRONG_INPUT, f"{text!r} is no number of bits", hint="24 stands for 255.255.255.0"
        )
    return int(text)


def require_address(info: ClusterInfo) -> ClusterInfo:
    """Return the settings. Raises Refused if the cluster has no such address."""
    if not (info.master_ip and info.master_netdev):
        raise Refused(
            WRONG_STATE,
            f"{info.name} has no address of its master",
            hint="gnt-cluster modify --master-netdev DEVICE --master-ip ADDRESS",
        )
    return info


def _removal(held: HeldAddress) -> RemoveMasterAddress:
    return RemoveMasterAddress(address=held.address, device=held.device)


def _in_reach(cluster: Cluster, uuid: str) -> bool:
    node = cluster.nodes.get(uuid)
    return node is not None and not why_unreachable(node)
