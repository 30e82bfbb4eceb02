"""Who an agent is: its name, its key, and, once it has joined, its cluster (edge).

    <dir>/agent.json      how it is to run (config), written by whoever installs the node
    <dir>/agent.key       its own CURVE key, drawn at the first start, never sent anywhere
    <dir>/ticket.json     an invitation, laid down by `gnt-node add` or a person; gone once used
    <dir>/identity.json   what it is a member of

Everything is written whole and synced before it counts: an agent that used its one-time ticket and
forgot the answer could not join again by itself.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from eventstore.access.keys import CurveKeys, load_curve_keys, new_curve_keys, save_curve_keys
from eventstore.clients.link import Voter as VoterAddress
from eventstore.durable_file import replace, sync_directory
from nodeagent.calls import Ticket, Voter
from nodeagent.errors import NodeAgentError
from nodeagent.hypervisor.kvm.settings import KvmSettings
from nodeagent.simulated.lab import SimulatedNode

T = TypeVar("T")

TICKET, IDENTITY, KEY, CONFIG = "ticket.json", "identity.json", "agent.key", "agent.json"
LOCK = "agent.lock"


class BadFile(NodeAgentError):
    """A file of the agent's directory cannot be read as what it should be."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent runs. Options of `cairn-agent` have precedence over the file."""

    name: str = ""
    drivers: str = "simulated"  # or "real"
    lab: str = ""  # directory where simulated nodes meet; empty: `<dir>/lab`
    os_path: tuple[str, ...] = (  # directories of OS definitions: Ganeti's, and Debian's for it
        "/srv/ganeti/os",
        "/usr/local/lib/ganeti/os",
        "/usr/lib/ganeti/os",
        "/usr/share/ganeti/os",
    )
    allocator_path: tuple[str, ...] = (  # directories of instance allocators; Ganeti's last
        "/usr/local/lib/cairn/iallocators",
        "/usr/lib/ganeti/iallocators",
        "/usr/share/ganeti/iallocators",
    )
    status_s: float = 5.0
    look_s: float = 1.0  # between two looks at disks and guests
    settle_s: float = 2.0  # a disk must be degraded for so long before it is reported
    workers: int = 8  # calls that may run side by side
    # Real drivers: directories that disks may be files in, on this node and shared by all; how
    # guests run; a directory that a restart of the machine empties
    file_path: tuple[str, ...] = ("/srv/ganeti/file-storage",)
    shared_file_path: tuple[str, ...] = ("/srv/ganeti/shared-file-storage",)
    kvm: KvmSettings = KvmSettings()
    run_directory: str = "/run/cairn"
    sync_delay_s: float = 0.0  # emulates a slow disk under the journal
    simulated: SimulatedNode = SimulatedNode()
    # A master daemon on this node, if it becomes a candidate: how it is started (--dir is added),
    # or the unit of systemd that does it; as which user (empty: the agent's own); where its files
    # are (empty: beside the agent's if it is another user, else among them); where it listens
    # (empty: the address of its node), and its ports for requests, publications, other voters and
    # segments (0: one that is free)
    master_unit: str = ""
    master_user: str = ""
    master_directory: str = ""
    master_command: tuple[str, ...] = ("cairn-master",)
    master_address: str = ""
    master_ports: tuple[int, int, int, int] = (1811, 1812, 1813, 1814)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Membership."""

    node: str  # uuid
    name: str
    cluster_id: str
    voters: tuple[Voter, ...]
    volume_group: str = ""  # of the cluster's disks, as the leader said last


def addresses(voters: tuple[Voter, ...]) -> tuple[VoterAddress, ...]:
    """Return voters as clients want them."""
    return tuple(
        VoterAddress(
            name=voter.name,
            requests_endpoint=voter.requests,
            publish_endpoint=voter.publications,
            curve_key=voter.curve_key,
        )
        for voter in voters
    )


class AgentDirectory:
    """The files of one agent. Raises BadFile for what is there and makes no sense."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def config(self) -> AgentConfig:
        """The config; the defaults if there is no file."""
        return self._read(CONFIG, AgentConfig) or AgentConfig()

    def claim(self) -> None:
        """Be the only agent that works here, until this process ends. Raises BlockingIOError."""
        handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def keys(self) -> CurveKeys:
        """The agent's own key, drawn now if there is none."""
        path = self.path / KEY
        if not path.exists():
            save_curve_keys(path, new_curve_keys())
        return load_curve_keys(path)

    def identity(self) -> Identity | None:
        """The membership, None if there is none."""
        return self._read(IDENTITY, Identity)

    def save_identity(self, identity: Identity) -> None:
        """Be a member, from now on and after a crash."""
        self._write(IDENTITY, identity)

    def drop_identity(self) -> None:
        """Be a member no more."""
        (self.path / IDENTITY).unlink(missing_ok=True)
        sync_directory(self.path)

    def name(self) -> str:
        """The node's name, as its cluster or a ticket has it; empty if there is neither."""
        known = self.identity() or self.ticket()
        return known.name if known is not None else ""

    def ticket(self) -> Ticket | None:
        """The ticket that was laid down, None if there is none."""
        return self._read(TICKET, Ticket)

    def drop_ticket(self, suffix: str = "") -> None:
        """Forget the ticket: it was used. With a suffix keep it under another name, for people."""
        path = self.path / TICKET
        if suffix:
            os.replace(path, f"{path}.{suffix}")
        else:
            path.unlink(missing_ok=True)
        sync_directory(self.path)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            text = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as wrong:
            raise BadFile(f"{self.path / name}: {wrong}", hint="repair or remove it") from None

    def _write(self, name: str, value: msgspec.Struct) -> None:
        replace(self.path / name, msgspec.json.format(msgspec.json.encode(value), indent=1))
