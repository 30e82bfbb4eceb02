"""The contract between the cluster and a node: calls, their results, status, observations (pure).

Other rooms import these names from here, and from no module of the package.

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

from nodeagent.calls.call import Call, Value, pack_call
from nodeagent.calls.instances import (
    BalloonMemory,
    DescribeConsole,
    DescribeRunning,
    EnsureRunning,
    EnsureStopped,
    FinishMigration,
    InstallOs,
    Migrate,
    PlugDisk,
    PlugNic,
    PrepareMigration,
    Reboot,
    RenameOs,
    SetVcpus,
    UnplugDisk,
    UnplugNic,
)
from nodeagent.calls.master_address import (
    AddressTaken,
    EnsureMasterAddress,
    RemoveMasterAddress,
)
from nodeagent.calls.messages import (
    Feedback,
    Join,
    Joined,
    Message,
    Observed,
    Promised,
    PromiseReply,
    StatusReply,
    TaskResult,
    Ticket,
    Voter,
)
from nodeagent.calls.nodes import EnsureVoter, LeaveCluster, Probe, RemoveVoter, RunAllocator
from nodeagent.calls.results import (
    AllocatorAnswer,
    ConsoleSeen,
    Device,
    Failure,
    HostFacts,
    Inventory,
    MigrationTarget,
    NodeCheck,
    OsStatus,
    OwnedVolume,
    RunningGuest,
    RunState,
    VolumeFound,
    VolumesFound,
    VoterMade,
    minor_entry,
)
from nodeagent.calls.specs import DiskSpec, InstanceSpec, NetworkSpec, NicSpec, VolumeSpec
from nodeagent.calls.status import (
    DiskObserved,
    DiskSeen,
    InstanceObserved,
    InstanceSeen,
    NodeStatus,
    Observation,
    OsSeen,
)
from nodeagent.calls.storage import (
    AdoptVolume,
    DescribeVolumes,
    EnsureActive,
    EnsureInactive,
    EnsureReplicated,
    EnsureSnapshot,
    EnsureVolume,
    ReleaseVolume,
    RemoveReplicated,
    RemoveVolume,
    WipeDisk,
)
from nodeagent.calls.tasks import (
    DUTY_REQUESTED,
    TASK_ENDS,
    TASK_REQUESTED,
    TASK_WITHDRAW_REQUESTED,
    TaskNamed,
    TaskOrder,
)

__all__ = [
    "CALLS",
    "DUTY_REQUESTED",
    "TASK_ENDS",
    "TASK_REQUESTED",
    "TASK_WITHDRAW_REQUESTED",
    "AddressTaken",
    "AdoptVolume",
    "AllocatorAnswer",
    "BalloonMemory",
    "Call",
    "ConsoleSeen",
    "DescribeConsole",
    "DescribeRunning",
    "DescribeVolumes",
    "Device",
    "DiskObserved",
    "DiskSeen",
    "DiskSpec",
    "EnsureActive",
    "EnsureInactive",
    "EnsureMasterAddress",
    "EnsureReplicated",
    "EnsureRunning",
    "EnsureSnapshot",
    "EnsureStopped",
    "EnsureVolume",
    "EnsureVoter",
    "Failure",
    "Feedback",
    "FinishMigration",
    "HostFacts",
    "InstallOs",
    "InstanceObserved",
    "InstanceSeen",
    "InstanceSpec",
    "Inventory",
    "Join",
    "Joined",
    "LeaveCluster",
    "Message",
    "Migrate",
    "MigrationTarget",
    "NetworkSpec",
    "NicSpec",
    "NodeCheck",
    "NodeStatus",
    "Observation",
    "Observed",
    "OsSeen",
    "OsStatus",
    "OwnedVolume",
    "PlugDisk",
    "PlugNic",
    "PrepareMigration",
    "Probe",
    "PromiseReply",
    "Promised",
    "Reboot",
    "ReleaseVolume",
    "RemoveMasterAddress",
    "RemoveReplicated",
    "RemoveVolume",
    "RemoveVoter",
    "RenameOs",
    "RunAllocator",
    "RunState",
    "RunningGuest",
    "SetVcpus",
    "StatusReply",
    "TaskNamed",
    "TaskOrder",
    "TaskResult",
    "Ticket",
    "UnplugDisk",
    "UnplugNic",
    "Value",
    "VolumeFound",
    "VolumeSpec",
    "VolumesFound",
    "Voter",
    "VoterMade",
    "WipeDisk",
    "minor_entry",
    "pack_call",
]

CALLS: dict[str, type[Call]] = {
    call.NAME: call
    for call in (
        EnsureVolume,
        RemoveVolume,
        DescribeVolumes,
        AdoptVolume,
        ReleaseVolume,
        EnsureSnapshot,
        WipeDisk,
        EnsureReplicated,
        RemoveReplicated,
        EnsureActive,
        EnsureInactive,
        InstallOs,
        RenameOs,
        EnsureRunning,
        EnsureStopped,
        Reboot,
        DescribeConsole,
        DescribeRunning,
        PrepareMigration,
        Migrate,
        FinishMigration,
        BalloonMemory,
        UnplugNic,
        UnplugDisk,
        SetVcpus,
        PlugNic,
        PlugDisk,
        Probe,
        RunAllocator,
        LeaveCluster,
        EnsureVoter,
        RemoveVoter,
        EnsureMasterAddress,
        RemoveMasterAddress,
    )
}
