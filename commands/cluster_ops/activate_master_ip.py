"""OP_CLUSTER_ACTIVATE_MASTER_IP: the master's node holds the master's address (pure).

The leader submits it after a change of leader (commands/master/council.py); an operator, after
`deactivate-master-ip`.

    wanted     it is to be up, if an operator had taken it down
    take       the agent of the master's node takes it, and tells the neighbours
    taken      recorded, with who else answered for it

What can go wrong: the device is not there; then it is given up again, and tried again later.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.cluster_ops.master_address import require_address, take_step, wanted_address
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.nodes import require_reachable
from commands.opcode import Opcode
from nodeagent.calls import AddressTaken, EnsureMasterAddress
from projections.cluster import Cluster
from projections.events.configuration import (
    MasterAddressGivenUp,
    MasterAddressTaken,
    MasterAddressWanted,
)
from projections.events.jobs import Lock
from projections.objects import HeldAddress
from projections.plans import Call, Plan, Record, Step, fact


class ClusterActivateMasterIp(Opcode, frozen=True, kw_only=True):
    """Bring the master's address up on the master."""

    NAME: ClassVar[str] = "OP_CLUSTER_ACTIVATE_MASTER_IP"


def lock(op: ClusterActivateMasterIp, cluster: Cluster) -> tuple[Lock, ...]:
    """The address, alone; the master's node shared, so that it does not go meanwhile."""
    return locks(exclusive=("master-address",), shared=(f"node/{cluster.settings.master}",))


def decide(
    op: ClusterActivateMasterIp, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Take it; then record that it was taken."""
    if not so_far:
        return _take(cluster)
    held = _held(so_far[0].plan)
    taken = msgspec.msgpack.decode(so_far[0].results["take"], type=AddressTaken)
    if len(so_far) == 1:
        event = MasterAddressTaken(held=held, also_at=taken.also_at)
        return Plan(steps=(_taken(cluster, event),))
    node = cluster.nodes.get(held.node)
    return Done({"node": node.name if node else held.node, "also_at": list(taken.also_at)})


def _take(cluster: Cluster) -> Plan:
    info = require_address(cluster.settings)
    require_reachable(cluster.nodes[info.master])
    held = wanted_address(msgspec.structs.replace(info, master_ip_up=True))
    assert held is not None  # it has one, and a master that decides this
    steps: list[Step] = []
    if not info.master_ip_up:
        wanted = fact("cluster", MasterAddressWanted(up=True))
        down = fact("cluster", MasterAddressWanted(up=False))
        steps.append(Record(id="wanted", facts=(wanted,), undo=(down,)))
    return Plan(steps=(*steps, take_step(held)))


def _taken(cluster: Cluster, event: MasterAddressTaken) -> Record:
    node = event.held.node
    before = next((h for h in cluster.settings.master_ip_held if h.node == node), None)
    undo = MasterAddressGivenUp(node=node) if before is None else MasterAddressTaken(held=before)
    return Record(id="taken", facts=(fact("cluster", event),), undo=(fact("cluster", undo),))


def _held(plan: Plan) -> HeldAddress:
    """Return what was asked for: master and settings may have changed meanwhile."""
    step = plan.steps[-1]
    assert isinstance(step, Call)
    asked = msgspec.msgpack.decode(step.call.data, type=EnsureMasterAddress)
    return HeldAddress(
        node=step.node, address=asked.address, prefix=asked.prefix, device=asked.device
    )


HANDLER = Handler(opcode=ClusterActivateMasterIp, decide=decide, locks=lock)
