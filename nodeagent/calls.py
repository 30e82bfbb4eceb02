"""The contract between the cluster and a node: calls, their results, status, observations (pure).

A **call** states a wanted result ("this volume exists and is at least so large"), so making it
twice is harmless, and an agent that died in the middle simply makes it again. In the log a call
stands as (name, version, bytes), see `Packed`; a change of meaning needs VERSION + 1, and the agent
keeps the old one as long as tasks of it may be open. Optional fields may be added freely.

Units are in the names. Nodes, instances and disks are named by their uuid; `name` fields are labels
for people and for the guest. Volumes are named by the plan, never by the agent.

Any call may end in `Failure`; its `code` says what kind:

    wrong_input            the call itself makes no sense here (unknown template, bad name)
    environment_error      a tool or module is missing, or a command failed (argv, output)
    insufficient_resources no room or memory: `message` says how much is free
    wrong_state            the thing exists, but as something else (another size or owner)
    unknown_entity         what should exist does not
    timeout                not done in time; the agent stopped it and says what may be left
    stopped                withdrawn while it ran, or its agent died: it may be half done; undo it
    stale                  the delivery's epoch is below what this agent has promised
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eventstore.packed import Packed

Value = str | int | float | bool | None


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all calls. `NAME` is stored for ever."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1


# --- what calls are about ---------------------------------------------------------------------


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of local storage on one node."""

    name: str  # unique on the node: `<group>/<volume>` for LVM, an absolute path for files
    kind: str  # storage driver: "lvm", "file", "sharedfile"
    size_mib: int
    stripes: int = 1


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One disk of an instance as one node must hold it."""

    uuid: str
    instance: str  # uuid
    index: int
    template: str  # plain, drbd, file, sharedfile, diskless, ...
    size_mib: int
    volume: VolumeSpec  # the data
    meta: VolumeSpec | None = None  # drbd: external metadata
    minor: int | None = None  # drbd, on this node
    peer: str | None = None  # drbd: uuid of the node that holds the other side; None: stand alone
    peer_address: str = ""  # drbd: where the peer listens
    port: int | None = None  # drbd, the same on both nodes
    mode: str = "rw"
    params: dict[str, Value] = {}  # disk parameters, filled (params.json, diskparams)
    name: str = ""
    spindles: int | None = None


class NicSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network interface of an instance."""

    uuid: str
    index: int
    mac: str
    ip: str = ""
    mode: str = "bridged"
    link: str = ""
    vlan: str = ""
    network: str = ""
    name: str = ""


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a node must know of an instance to install, start or receive it."""

    uuid: str
    name: str
    generation: int  # rises at each change of primary; a node refuses an older one
    hypervisor: str
    os: str
    memory_mib: int
    min_memory_mib: int
    vcpus: int
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    hvparams: dict[str, Value] = {}  # filled: every parameter of the hypervisor
    beparams: dict[str, Value] = {}  # filled
    osparams: dict[str, str] = {}
    primary: str = ""  # uuid
    secondaries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    ctime: float = 0.0
    mtime: float = 0.0


# --- storage ----------------------------------------------------------------------------------


class EnsureVolume(Call, frozen=True, kw_only=True):
    """The volume exists, belongs to `owner` and has at least this size. A volume of that name
    with another owner is refused (wrong_state): never taken over, never destroyed."""

    NAME: ClassVar[str] = "ensure-volume"

    volume: VolumeSpec
    owner: str  # uuid of the disk


class RemoveVolume(Call, frozen=True, kw_only=True):
    """The volume does not exist, or belongs to another owner (then it is left alone)."""

    NAME: ClassVar[str] = "remove-volume"

    volume: VolumeSpec
    owner: str


class EnsureReplicated(Call, frozen=True, kw_only=True):
    """The disk's mirror is up on this node, attached to its volumes and connected to its peer.

    `fresh`: both sides are new and empty, so they count as equal. `source`: this side holds the
    data that a peer without any gets. A larger `size_mib` than before grows the mirror.
    """

    NAME: ClassVar[str] = "ensure-replicated"

    disk: DiskSpec
    fresh: bool = False
    source: bool = False


class RemoveReplicated(Call, frozen=True, kw_only=True):
    """The mirror is down on this node and its minor is free. The volumes are left alone."""

    NAME: ClassVar[str] = "remove-replicated"

    disk: DiskSpec


class EnsureActive(Call, frozen=True, kw_only=True):
    """The disk can be used by a guest on this node (`primary`) or follows its peer (not primary).

    Returns `Device`. For a mirror this includes what EnsureReplicated does for an existing one.
    `dual`: for the time of a live migration both sides are primary.
    """

    NAME: ClassVar[str] = "ensure-active"

    disk: DiskSpec
    primary: bool
    dual: bool = False


class EnsureInactive(Call, frozen=True, kw_only=True):
    """The disk is shut down on this node; its data stay. Refused (wrong_state) while in use."""

    NAME: ClassVar[str] = "ensure-inactive"

    disk: DiskSpec


# --- instances --------------------------------------------------------------------------------


class InstallOs(Call, frozen=True, kw_only=True):
    """The OS definition's `create` has run to its end on the instance's disks (active here).

    Source: Ganeti's OS interface, version 20 (docs/os-interface.md).
    """

    NAME: ClassVar[str] = "install-os"

    instance: InstanceSpec
    reinstall: bool = False
    debug_level: int = 0


class RenameOs(Call, frozen=True, kw_only=True):
    """The OS definition's `rename` has run, so that the guest knows its new name."""

    NAME: ClassVar[str] = "rename-os"

    instance: InstanceSpec
    old_name: str


class EnsureRunning(Call, frozen=True, kw_only=True):
    """The instance runs here, with its interfaces up. Its disks must be active.

    Returns `RunState`.
    """

    NAME: ClassVar[str] = "ensure-running"

    instance: InstanceSpec
    paused: bool = False


class EnsureStopped(Call, frozen=True, kw_only=True):
    """The instance does not run here. Asks the guest first, and forces it after `grace_s`."""

    NAME: ClassVar[str] = "ensure-stopped"

    instance: str  # uuid
    name: str
    hypervisor: str
    grace_s: int = 120
    force: bool = False


class Reboot(Call, frozen=True, kw_only=True):
    """The instance was rebooted: by its guest ("soft") or by the hypervisor ("hard").

    `incarnation` is new for each order, so that a call made twice reboots once.
    """

    NAME: ClassVar[str] = "reboot"

    instance: InstanceSpec
    how: str
    incarnation: str


class PrepareMigration(Call, frozen=True, kw_only=True):
    """This node, the target, is ready to receive the instance. Returns `MigrationTarget`."""

    NAME: ClassVar[str] = "prepare-migration"

    instance: InstanceSpec


class Migrate(Call, frozen=True, kw_only=True):
    """The instance was sent from here to `target`, and runs there. A second call finds it gone."""

    NAME: ClassVar[str] = "migrate"

    instance: InstanceSpec
    target: str  # uuid
    target_address: str
    live: bool = True


class FinishMigration(Call, frozen=True, kw_only=True):
    """On either node: what the migration left is in order. `succeeded`: the target keeps it."""

    NAME: ClassVar[str] = "finish-migration"

    instance: InstanceSpec
    source: str  # uuid
    target: str  # uuid
    succeeded: bool


class BalloonMemory(Call, frozen=True, kw_only=True):
    """The running instance has this much memory."""

    NAME: ClassVar[str] = "balloon-memory"

    instance: str  # uuid
    name: str
    hypervisor: str
    memory_mib: int


# --- nodes ------------------------------------------------------------------------------------


class Probe(Call, frozen=True, kw_only=True):
    """Nothing changes. Returns `NodeCheck`: the status seen now, and what the drivers lack.

    `inventory`: also what the node holds, and its OS definitions. `buckets`: list these in full.
    """

    NAME: ClassVar[str] = "probe"

    inventory: bool = False
    buckets: tuple[int, ...] = ()


class RunAllocator(Call, frozen=True, kw_only=True):
    """An instance allocator of this node was asked and has answered. Returns `AllocatorAnswer`.

    Source: Ganeti's allocator protocol, version 2. The program gets the request as a file and may
    be asked twice: it must decide, not act.
    """

    NAME: ClassVar[str] = "run-allocator"

    allocator: str  # the name of a program on the agent's `allocator_path`
    request: bytes  # JSON, compressed with zlib
    options: tuple[str, ...] = ()  # further arguments, each with its dashes
    time_s: float = 300.0  # how long it may think


class LeaveCluster(Call, frozen=True, kw_only=True):
    """The node forgets the cluster: its agent keeps its key, drops its journal and waits."""

    NAME: ClassVar[str] = "leave-cluster"


class EnsureVoter(Call, frozen=True, kw_only=True):
    """A master daemon of this cluster runs on this node, with a storage and keys of its own.

    Returns `VoterMade`. One that is there already is kept, with its storage; it is started if it
    does not run. Where the other voters are the agent knows itself.
    """

    NAME: ClassVar[str] = "ensure-voter"

    cluster_id: str
    name: str  # of the voter: that of its node
    address: str  # where it listens and is reached, unless the node is set up otherwise
    settings: dict[str, Value] = {}  # of the daemon; those that it does not know are refused by it


class RemoveVoter(Call, frozen=True, kw_only=True):
    """No master daemon of this cluster is on this node, and none of its files."""

    NAME: ClassVar[str] = "remove-voter"

    cluster_id: str


# --- results ----------------------------------------------------------------------------------


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an active disk is on its node."""

    path: str = ""
    uri: str = ""


class RunState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the hypervisor says of an instance."""

    state: str  # running, paused, stopped
    memory_mib: int = 0
    vcpus: int = 0
    generation: int = 0


class MigrationTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the source must send the instance."""

    address: str
    port: int = 0


class VoterMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A voter on this node: its public keys, its storage, and where it is reached."""

    inc: str  # hex id of its storage
    curve_key: str  # Z85
    sign_key: str  # base64
    requests: str  # endpoints
    publications: str
    replication: str


class NodeCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `Probe`."""

    status: NodeStatus  # without `disks`, which may be thousands: telemetry has them
    missing: tuple[str, ...] = ()  # per driver: what it needs and does not find, what to install
    holds: Inventory | None = None
    os: tuple[OsStatus, ...] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the node holds: sums over all of it, and some buckets of it by name.

    `sums`: eventstore/set_sums.py, over the names of the volumes that have an owner, and the
    `minor_entry` of each minor. `listed`: of the buckets that were asked for, those that are here
    in full; the first ones, as far as an answer has room.
    """

    sums: tuple[int, ...]
    listed: tuple[int, ...] = ()
    volumes: tuple[OwnedVolume, ...] = ()
    minors: dict[int, str] = {}  # minor -> disk uuid


def minor_entry(minor: int, disk: str) -> str:
    """Return the name under which a minor that is up for a disk stands in `Inventory.sums`."""
    return f"minor {minor} {disk}"


class AllocatorAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an allocator printed: an object with `success` and `info`, checked no further."""

    answer: bytes  # JSON, compressed with zlib


class OwnedVolume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume found on the node. `owner` is empty where nobody of this cluster made it."""

    name: str
    kind: str
    size_mib: int
    owner: str = ""


class OsStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OS definition found on the node; `problem` is empty where it is valid."""

    name: str
    problem: str = ""
    variants: tuple[str, ...] = ()
    api_versions: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task failed. `retry`: trying again may help. Output over 4 KiB stays on the node."""

    code: str
    message: str
    hint: str = ""
    retry: bool = False
    argv: tuple[str, ...] = ()
    exit_status: int | None = None
    output: str = ""


# --- what a node says unasked -----------------------------------------------------------------


class DiskSeen(msgspec.Struct, frozen=True, array_like=True):
    """A disk as it is on a node. `state`: ok, syncing, degraded (the peer is missing or
    outdated), faulty (the local side cannot be read), inactive."""

    uuid: str
    state: str
    role: str  # primary, secondary, "" where it has none
    sync_percent: float | None = None
    sync_eta_s: float | None = None


class InstanceSeen(msgspec.Struct, frozen=True, array_like=True):
    """An instance that the hypervisor knows."""

    uuid: str
    name: str
    state: str  # running, paused, stopped, crashed, user-down (its own user shut it down)
    memory_mib: int
    vcpus: int
    generation: int


class NodeStatus(msgspec.Struct, frozen=True, array_like=True):
    """Telemetry: sent every few seconds, kept in memory, never in the log as such."""

    node: str  # uuid
    boot_id: str
    memory_total_mib: int
    memory_free_mib: int
    memory_own_mib: int  # used by the node itself
    disk_total_mib: int  # of the cluster's volume group
    disk_free_mib: int
    cpus: int
    cpu_sockets: int
    cpu_nodes: int
    instances: tuple[InstanceSeen, ...] = ()
    disks: tuple[DiskSeen, ...] = ()
    spindles_total: int = 0
    spindles_free: int = 0
    simulated: bool = False  # the drivers are simulated
    versions: dict[str, str] = {}  # kernel, hypervisor, drbd, lvm, cairn
    file_total_mib: int = 0  # file storage
    file_free_mib: int = 0


class DiskObserved(msgspec.Struct, frozen=True, kw_only=True, tag="disk"):
    """The state of a disk on this node has changed; becomes an event. Debounced by the agent."""

    disk: str
    instance: str
    state: str  # as in DiskSeen
    serial: int  # of this agent's observations, rising; with the agent's id it is the key


class InstanceObserved(msgspec.Struct, frozen=True, kw_only=True, tag="instance"):
    """An instance ended without an order, or runs without one; becomes an event."""

    instance: str
    state: str  # crashed, user-down, running
    generation: int
    serial: int


Observation = DiskObserved | InstanceObserved

# --- what agent and leader say to each other --------------------------------------------------

TASK_REQUESTED = "task.requested"  # kinds of records in the node's stream that the agent acts on
DUTY_REQUESTED = "node.duty-requested"  # an undo of a job that is over, once more; read as a task
TASK_WITHDRAW_REQUESTED = "task.withdraw-requested"
TASK_ENDS = ("task.done", "task.failed", "task.withdrawn")  # the outbox may forget the result


class TaskOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reads of a `task.requested`; its other fields are the leader's business."""

    task: str
    call: Packed
    resource: str
    timeout_s: float


class TaskNamed(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reads of the other `task.` records."""

    task: str


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the bodies below: MessagePack maps; unknown fields are ignored."""


class Join(Message, frozen=True):
    """An invited agent shows the key that it will use. It connects with its ticket's key."""

    name: str
    curve_key: str
    address: str = ""  # by which it reaches the voters


class Voter(Message, frozen=True):
    """Where a voter is reached, and by which key it is known."""

    name: str
    requests: str  # endpoint
    publications: str  # endpoint
    curve_key: str  # Z85
    replication: str = ""  # endpoint, for other voters


class Ticket(Message, frozen=True):
    """What lets an unjoined agent in, once; carried to the node as a file, in JSON."""

    cluster_id: str
    node: str  # uuid
    name: str
    secret_key: str  # CURVE secret key, Z85; its public half is admitted for `join` only
    public_key: str
    voters: tuple[Voter, ...]


class Joined(Message, frozen=True):
    """It is in."""

    node: str  # uuid
    cluster_id: str
    voters: tuple[Voter, ...]


class Promised(Message, frozen=True):
    """The agent refuses from here on what comes from an epoch below (gen, term)."""

    node: str
    gen: int
    term: int
    unfinished: tuple[str, ...] = ()  # task ids accepted and not ended
    finished: tuple[str, ...] = ()  # ended, and not yet seen committed


class PromiseReply(Message, frozen=True):
    """The leader has heard it, and at which version the node's stream stands."""

    version: int
    voters: tuple[Voter, ...] = ()


class StatusReply(Message, frozen=True):
    """The status was heard. `voters`: where they are now; only the leader says so."""

    voters: tuple[Voter, ...] = ()


class TaskResult(Message, frozen=True):
    """What came of a task: it failed, was withdrawn before it ran, still runs (the answer to a
    withdrawal that comes too late to stop it; the end follows), or else is done, with a result.
    May be repeated."""

    task: str
    done: msgspec.Raw = msgspec.Raw(b"\xc0")  # not `| None`: msgspec would only take nil
    failed: Failure | None = None
    withdrawn: bool = False
    running: bool = False
    duration_ms: int = 0


class Feedback(Message, frozen=True):
    """A line for the person who waits for a task; at most one a second, 4 KiB."""

    task: str
    text: str
    percent: float | None = None
    eta_s: float | None = None


class Observed(Message, frozen=True):
    """Changes that a node saw. May be repeated: serials tell."""

    observations: tuple[Observation, ...]


CALLS: dict[str, type[Call]] = {
    call.NAME: call
    for call in (
        EnsureVolume,
        RemoveVolume,
        EnsureReplicated,
        RemoveReplicated,
        EnsureActive,
        EnsureInactive,
        InstallOs,
        RenameOs,
        EnsureRunning,
        EnsureStopped,
        Reboot,
        PrepareMigration,
        Migrate,
        FinishMigration,
        BalloonMemory,
        Probe,
        RunAllocator,
        LeaveCluster,
        EnsureVoter,
        RemoveVoter,
    )
}


def pack_call(call: Call) -> Packed:
    """Return `call` as it stands in a record."""
    return Packed(call.NAME, call.VERSION, msgspec.Raw(msgspec.msgpack.encode(call)))
