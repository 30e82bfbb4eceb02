"""Facts about the configuration: what the cluster is meant to be, and what was seen to matter.

Objects are named by uuid. Values are new values, never differences, so that folding an event twice
changes nothing. Streams: `cluster`, `group/<uuid>`, `node/<uuid>`, `instance/<uuid>`.
"""

from __future__ import annotations

from typing import ClassVar

from eventstore.packed import Packed
from eventstore.record import Event
from projections.objects import (
    ClusterInfo,
    Disk,
    Group,
    HeldAddress,
    Instance,
    Nic,
    Node,
    Params,
)


class ClusterCreated(Event, frozen=True, kw_only=True):
    """The cluster exists."""

    KIND: ClassVar[str] = "cluster.created"
    info: ClusterInfo


class ClusterModified(Event, frozen=True, kw_only=True):
    """Settings of the whole cluster are now these.

    `info.master` is passed over: who leads is not decided under a lock (`cluster.master-changed`).
    """

    KIND: ClassVar[str] = "cluster.modified"
    info: ClusterInfo


class ClusterDestroyed(Event, frozen=True, kw_only=True):
    """The cluster was given up by an operator; nothing may follow but audit."""

    KIND: ClassVar[str] = "cluster.destroyed"
    reason: str = ""


class MasterChanged(Event, frozen=True, kw_only=True):
    """The master daemon of this node leads."""

    KIND: ClassVar[str] = "cluster.master-changed"
    node: str


class MasterAddressWanted(Event, frozen=True, kw_only=True):
    """The address by which the master is reached is to be up, or to stay down."""

    KIND: ClassVar[str] = "cluster.master-address-wanted"
    up: bool


class MasterAddressTaken(Event, frozen=True, kw_only=True):
    """A node holds the master's address. `also_at`: the link addresses of other machines that
    answered for it just before; they may hold it still."""

    KIND: ClassVar[str] = "cluster.master-address-taken"
    held: HeldAddress
    also_at: tuple[str, ...] = ()


class MasterAddressGivenUp(Event, frozen=True, kw_only=True):
    """A node holds the master's address no more."""

    KIND: ClassVar[str] = "cluster.master-address-given-up"
    node: str


class GroupAdded(Event, frozen=True, kw_only=True):
    """A node group exists."""

    KIND: ClassVar[str] = "group.added"
    group: Group


class GroupModified(Event, frozen=True, kw_only=True):
    """A node group is now this."""

    KIND: ClassVar[str] = "group.modified"
    group: Group


class GroupRemoved(Event, frozen=True, kw_only=True):
    """A node group is gone."""

    KIND: ClassVar[str] = "group.removed"
    group: str


class NodeInvited(Event, frozen=True, kw_only=True):
    """A node may join, with the one-time key of its ticket."""

    KIND: ClassVar[str] = "node.invited"
    node: Node
    ticket_key: str  # CURVE public key, Z85


class NodeJoined(Event, frozen=True, kw_only=True):
    """The agent of an invited node has shown the key that it will use from now on."""

    KIND: ClassVar[str] = "node.joined"
    node: str
    curve_key: str
    address: str = ""  # by which it reaches the voters; the primary one if none was given


class NodeAdded(Event, frozen=True, kw_only=True):
    """The node is a member: it may hold instances. It has joined, if only by this."""

    KIND: ClassVar[str] = "node.added"
    node: str


class NodeModified(Event, frozen=True, kw_only=True):
    """Flags and parameters of a node are now these."""

    KIND: ClassVar[str] = "node.modified"
    node: str
    master_candidate: bool
    offline: bool
    drained: bool
    master_capable: bool
    vm_capable: bool
    powered: bool = True
    ndparams: Params = {}
    secondary_ip: str = ""  # "" = unchanged
    group: str = ""  # "" = unchanged


class NodeWitnessSet(Event, frozen=True, kw_only=True):
    """The node is to hold the log and vote, and never to lead; or not to."""

    KIND: ClassVar[str] = "node.witness-set"
    node: str
    witness: bool


class NodeRemoved(Event, frozen=True, kw_only=True):
    """The node is no member any more (or its invitation was taken back)."""

    KIND: ClassVar[str] = "node.removed"
    node: str


class NodeLost(Event, frozen=True, kw_only=True):
    """The leader has heard nothing of the node for longer than it may be silent."""

    KIND: ClassVar[str] = "node.lost"
    node: str
    silent_s: float


class NodeReturned(Event, frozen=True, kw_only=True):
    """A lost node is heard again."""

    KIND: ClassVar[str] = "node.returned"
    node: str
    boot_id: str = ""


class InstanceCreated(Event, frozen=True, kw_only=True):
    """An instance exists, with its disks."""

    KIND: ClassVar[str] = "instance.created"
    instance: Instance


class InstanceRemoved(Event, frozen=True, kw_only=True):
    """An instance is gone, with its disks."""

    KIND: ClassVar[str] = "instance.removed"
    instance: str
    name: str = ""


class InstanceRenamed(Event, frozen=True, kw_only=True):
    """An instance has another name."""

    KIND: ClassVar[str] = "instance.renamed"
    instance: str
    old_name: str
    new_name: str


class InstanceStateSet(Event, frozen=True, kw_only=True):
    """An instance is meant to be up, down or offline."""

    KIND: ClassVar[str] = "instance.state-set"
    instance: str
    admin_state: str
    source: str = "admin"  # or "user": the guest shut itself down


class InstanceModified(Event, frozen=True, kw_only=True):
    """Parameters of an instance are now these (what is set on it, not what it inherits)."""

    KIND: ClassVar[str] = "instance.modified"
    instance: str
    beparams: Params
    hvparams: Params
    osparams: dict[str, str] = {}
    os: str = ""  # "" = unchanged
    nics: tuple[Nic, ...] | None = None  # None = unchanged


class InstancePrimaryChanged(Event, frozen=True, kw_only=True):
    """The instance lives on another node; the generation rose.

    Of a mirrored disk the side there is now the first, so primary and secondary have changed
    places. A move says beside this, in `instance.disk-replaced`, where a disk without a mirror
    lies.
    """

    KIND: ClassVar[str] = "instance.primary-changed"
    instance: str
    primary: str
    generation: int
    how: str  # failover, migrate, move


class InstanceDisksActive(Event, frozen=True, kw_only=True):
    """The disks of an instance are meant to be assembled, or shut down."""

    KIND: ClassVar[str] = "instance.disks-active"
    instance: str
    active: bool


class DiskGrown(Event, frozen=True, kw_only=True):
    """A disk of an instance is now larger, on every node that holds it."""

    KIND: ClassVar[str] = "instance.disk-grown"
    instance: str
    disk: int  # index, from 0
    size_mib: int  # the new size


class DiskReplaced(Event, frozen=True, kw_only=True):
    """A disk lies elsewhere now: other volumes, or another secondary node.

    `new.health` counts for sides that are new; of one that stays, what was last seen is kept.
    """

    KIND: ClassVar[str] = "instance.disk-replaced"
    instance: str
    disk: int  # index, from 0
    new: Disk


class DisksChanged(Event, frozen=True, kw_only=True):
    """An instance has these disks now: some were added or taken away, or changed name or mode.

    Of a side that stays the health that was last seen is kept, as in `instance.disk-replaced`.
    """

    KIND: ClassVar[str] = "instance.disks-changed"
    instance: str
    disks: tuple[Disk, ...]  # all of them, in their order


class DiskStateSeen(Event, frozen=True, kw_only=True):
    """An agent reported that the state of a disk on its node changed and stayed so.

    Passed over if the node holds no side of the disk any more.
    """

    KIND: ClassVar[str] = "instance.disk-state-seen"
    instance: str
    disk: str  # uuid
    node: str
    state: str  # ok, syncing, degraded, faulty, inactive (nodeagent/calls, DiskSeen)


class InstanceStateSeen(Event, frozen=True, kw_only=True):
    """An agent reported that an instance ended, or runs, without an order.

    Passed over if the node is not its primary any more.
    """

    KIND: ClassVar[str] = "instance.state-seen"
    instance: str
    node: str
    state: str  # crashed, user-down, running


class TagsAdded(Event, frozen=True, kw_only=True):
    """An object bears these tags too. `table`: cluster, group, node, instance."""

    KIND: ClassVar[str] = "tags.added"
    table: str
    subject: str  # uuid
    tags: tuple[str, ...]


class TagsRemoved(Event, frozen=True, kw_only=True):
    """An object no longer bears these tags."""

    KIND: ClassVar[str] = "tags.removed"
    table: str
    subject: str
    tags: tuple[str, ...]


class DutyRecorded(Event, frozen=True, kw_only=True):
    """An undo that could not run because its node is lost; it is done when the node returns."""

    KIND: ClassVar[str] = "node.duty-recorded"
    node: str
    duty: str  # id: the task id of the undo, which stands in the node's stream
    job: int
    what: str  # for people
    call: Packed | None = None  # what a later try is made of
    resource: str = ""
    timeout_s: float = 300.0


class DutyFailed(Event, frozen=True, kw_only=True):
    """The node tried, and could not. It is tried again when it returns, or if a person asks."""

    KIND: ClassVar[str] = "node.duty-failed"
    node: str
    duty: str
    message: str


class DutyRequested(Event, frozen=True, kw_only=True):
    """The node is to try once more. The agent reads it as it reads a `task.requested`."""

    KIND: ClassVar[str] = "node.duty-requested"
    node: str
    duty: str
    task: str  # id of this try
    attempt: int
    call: Packed
    resource: str
    timeout_s: float


class DutyDone(Event, frozen=True, kw_only=True):
    """A duty was carried out, or an operator said that it is void."""

    KIND: ClassVar[str] = "node.duty-done"
    node: str
    duty: str


ConfigurationEvent = (
    ClusterCreated
    | ClusterModified
    | ClusterDestroyed
    | MasterChanged
    | MasterAddressWanted
    | MasterAddressTaken
    | MasterAddressGivenUp
    | GroupAdded
    | GroupModified
    | GroupRemoved
    | NodeInvited
    | NodeJoined
    | NodeAdded
    | NodeModified
    | NodeWitnessSet
    | NodeRemoved
    | NodeLost
    | NodeReturned
    | InstanceCreated
    | InstanceRemoved
    | InstanceRenamed
    | InstanceStateSet
    | InstanceModified
    | InstancePrimaryChanged
    | InstanceDisksActive
    | DiskGrown
    | DiskReplaced
    | DisksChanged
    | DiskStateSeen
    | InstanceStateSeen
    | TagsAdded
    | TagsRemoved
    | DutyRecorded
    | DutyFailed
    | DutyRequested
    | DutyDone
)
