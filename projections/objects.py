"""The objects of the configuration: cluster, groups, nodes, instances, disks, NICs (pure data).

What stands here is *wanted*: what the log says. What a node last reported is *seen*, and lives in
memory only (`NodeStatus` in nodeagent/calls). Parameters hold only what was set on that object;
the values in force come from `params.py` by inheritance. Nothing of these structs is changed in
place, the dicts neither.
"""

from __future__ import annotations

import msgspec

Value = str | int | float | bool | None
Params = dict[str, Value]

ADMIN_UP, ADMIN_DOWN, ADMIN_OFFLINE = "up", "down", "offline"


class Nic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A network interface."""

    uuid: str
    mac: str
    ip: str = ""
    network: str = ""  # uuid
    name: str = ""
    params: Params = {}  # mode, link, vlan


class Side(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one node holds of a disk."""

    node: str  # uuid
    volume: str  # `<group>/<volume>` or an absolute path
    meta_volume: str = ""
    minor: int | None = None
    node_id: int | None = None  # of a mirror: the number of this side, whatever node it is on


class Disk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A disk. `sides[0]` is on the primary node; a mirror has a second one."""

    uuid: str
    size_mib: int
    template: str
    sides: tuple[Side, ...] = ()
    mode: str = "rw"
    name: str = ""
    port: int | None = None
    spindles: int | None = None
    params: Params = {}
    vg: str = ""  # as asked for; "" = the cluster's
    # node uuid -> faulty, degraded, syncing; what is not named is in order
    health: dict[str, str] = {}


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An instance, running or not."""

    uuid: str
    name: str
    primary: str  # uuid of a node
    os: str
    hypervisor: str
    template: str  # of all its disks
    admin_state: str = ADMIN_DOWN
    admin_state_source: str = "admin"
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    beparams: Params = {}
    hvparams: Params = {}
    osparams: dict[str, str] = {}
    disks_active: bool = False
    generation: int = 1  # rises at each change of primary: fencing on the node
    network_port: int | None = None
    tags: tuple[str, ...] = ()
    ctime_ms: int = 0
    mtime_ms: int = 0
    serial: int = 1
    crashed: bool = False  # wanted up, seen to have ended without an order

    @property
    def secondary(self) -> str | None:
        """The node that mirrors the disks, if any.

        The one side of a disk on shared storage stays noted where it was made, wherever the
        instance goes: that is no mirror.
        """
        for disk in self.disks:
            for side in disk.sides if len(disk.sides) > 1 else ():
                if side.node != self.primary:
                    return side.node
        return None

    @property
    def nodes(self) -> tuple[str, ...]:
        """Primary first, then the secondary, if any."""
        secondary = self.secondary
        return (self.primary,) if secondary is None else (self.primary, secondary)


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A node. `joined`: its agent has shown its key; before, it is only invited."""

    uuid: str
    name: str
    group: str  # uuid
    primary_ip: str = ""
    secondary_ip: str = ""
    master_candidate: bool = False
    offline: bool = False
    drained: bool = False
    master_capable: bool = True
    vm_capable: bool = True
    powered: bool = True
    joined: bool = False
    curve_key: str = ""
    witness: bool = False  # holds the log and votes, and never leads
    lost: bool = False  # no status for longer than it may be silent
    ndparams: Params = {}
    tags: tuple[str, ...] = ()
    ctime_ms: int = 0
    mtime_ms: int = 0
    serial: int = 1
    voter_key: str = ""  # CURVE key of the master daemon that holds the log there


Sizes = dict[str, int]  # Ganeti's key (memory-size, cpu-count, ...) -> MiB or a count


class SpecBounds(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Least and most of every size that an instance may have."""

    min: Sizes
    max: Sizes


class InstancePolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is set of an instance policy; what is empty or None is inherited."""

    minmax: tuple[SpecBounds, ...] = ()  # an instance lies within one of them
    std: Sizes = {}  # the cluster's alone
    disk_templates: tuple[str, ...] = ()
    vcpu_ratio: float | None = None
    spindle_ratio: float | None = None


NOTHING_SET = InstancePolicy()


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A node group."""

    uuid: str
    name: str
    alloc_policy: str = "preferred"
    ndparams: Params = {}
    diskparams: dict[str, Params] = {}  # template -> parameters
    ipolicy: InstancePolicy = NOTHING_SET
    tags: tuple[str, ...] = ()
    ctime_ms: int = 0
    mtime_ms: int = 0
    serial: int = 1


class HeldAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An address of the master that a node was told to hold, and was not told to give up."""

    node: str  # uuid
    address: str
    prefix: int
    device: str


class ClusterInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What holds for the whole cluster."""

    uuid: str
    name: str
    master: str = ""  # uuid of the node whose voter leads
    vg_name: str = "xenvg"
    mac_prefix: str = "aa:00:00"
    enabled_hypervisors: tuple[str, ...] = ("fake",)
    enabled_disk_templates: tuple[str, ...] = ("drbd", "plain")
    file_storage_dir: str = ""
    shared_file_storage_dir: str = ""
    beparams: Params = {}
    nicparams: Params = {}
    ndparams: Params = {}
    hvparams: dict[str, Params] = {}  # hypervisor -> parameters
    os_hvp: dict[str, dict[str, Params]] = {}  # OS -> hypervisor -> parameters
    osparams: dict[str, dict[str, str]] = {}  # OS -> parameters
    diskparams: dict[str, Params] = {}
    candidate_pool_size: int = 10
    drbd_port_first: int = 11000
    default_iallocator: str = ""  # the one that decides where none is named; "" is the built-in
    default_iallocator_params: Params = {}
    ipolicy: InstancePolicy = NOTHING_SET
    master_ip: str = ""  # by which the master is reached; "" with the next: there is no such thing
    master_netmask: int = 0  # bits of its network; 0: the address alone
    master_netdev: str = ""  # where it is to be, on the node whose voter leads
    master_ip_up: bool = True  # False: an operator took it down
    master_ip_held: tuple[HeldAddress, ...] = ()  # more than one while a node is out of reach
    tags: tuple[str, ...] = ()
    ctime_ms: int = 0
    mtime_ms: int = 0
    serial: int = 1
    destroyed: bool = False
    prealloc_wipe_disks: bool = False  # new disks are emptied before anybody gets them
    uid_pool: tuple[tuple[int, int], ...] = ()  # ranges of users whom guests may run as
