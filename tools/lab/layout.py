"""Where the files of a lab lie, and what it consists of (pure but for its settings file).

<dir>/lab.json            `Lab`: its nodes and ports
<dir>/client.json         settings of the `gnt-*` commands; CAIRN_CONFIG names it
<dir>/operator.key        the key of whoever uses the lab
<dir>/master/             the directory of the first node's master daemon
<dir>/agents/<node>/      each agent's directory, where its ticket is laid down
<dir>/agents/<node>/master/   the directory of that node's master daemon, if it has one
<dir>/nodes/              the simulated machines (nodeagent/simulated/lab.py)
<dir>/allocators/         instance allocators, for `-I NAME`; empty at first
<dir>/log/<daemon>.out    what a daemon printed
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from commands.errors import CommandError

MASTER = "master"


class LabError(CommandError):
    """What was asked of the lab cannot be done; the message says what can."""


class Wires(msgspec.Struct, frozen=True, kw_only=True):
    """The networks of a lab (wires.py). `tag` begins the names of all that was made for it."""

    tag: str
    network: str  # the first three bytes of all addresses: "10.77.3"
    nodes: tuple[str, ...]

    def address(self, node: str) -> str:
        """Return the address of a node."""
        return f"{self.network}.{self.nodes.index(node) + 1}"

    def namespace(self, node: str) -> str:
        """Return the name of a node's namespace."""
        return f"{self.tag}-{self.nodes.index(node) + 1}"

    def inside(self, node: str, command: Sequence[str]) -> list[str]:
        """Return the command by which `command` runs on a node."""
        return ["ip", "netns", "exec", self.namespace(node), *command]

    @property
    def bridge(self) -> str:
        """The name of the bridge."""
        return f"{self.tag}-br"


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one lab."""

    nodes: tuple[str, ...]  # the first one is to be the master
    requests_port: int
    publications_port: int
    replication_port: int
    segments_port: int
    voters: int = 1  # nodes that have a master daemon, once they are in the cluster
    wires: Wires | None = None  # None: all nodes are on the loopback

    def address(self, node: str) -> str:
        """Return where the daemons of a node listen."""
        return "127.0.0.1" if self.wires is None else self.wires.address(node)

    def inside(self, node: str, command: Sequence[str]) -> list[str]:
        """Return the command by which `command` runs on a node."""
        return list(command) if self.wires is None else self.wires.inside(node, command)


@dataclass(frozen=True, slots=True)
class LabLayout:
    """The paths of a lab. `directory` is absolute."""

    directory: Path

    @property
    def settings(self) -> Path:
        """What the lab consists of."""
        return self.directory / "lab.json"

    @property
    def client(self) -> Path:
        """The settings of the commands."""
        return self.directory / "client.json"

    @property
    def operator_key(self) -> Path:
        """The key of whoever uses the lab."""
        return self.directory / "operator.key"

    @property
    def master(self) -> Path:
        """The master daemon's directory."""
        return self.directory / "master"

    @property
    def agents(self) -> Path:
        """The directories of the agents."""
        return self.directory / "agents"

    @property
    def machines(self) -> Path:
        """The simulated machines."""
        return self.directory / "nodes"

    @property
    def allocators(self) -> Path:
        """Where agents look for instance allocators."""
        return self.directory / "allocators"

    @property
    def output(self) -> Path:
        """What the daemons printed."""
        return self.directory / "log"

    def agent(self, node: str) -> Path:
        """The directory of a node's agent."""
        return self.agents / node

    def home(self, daemon: str) -> Path:
        """The directory of `master`, of `master@NODE`, or of a node's agent."""
        if daemon == MASTER:
            return self.master
        kind, _, node = daemon.rpartition("@")
        return self.agent(node) / MASTER if kind == MASTER else self.agent(daemon)

    def node_of(self, daemon: str) -> str:
        """The node on which `master`, `master@NODE` or a node's agent runs."""
        if daemon == MASTER:
            return self.load().nodes[0]
        return daemon.rpartition("@")[2]

    def voter(self, node: str) -> str:
        """The name of a node's master daemon: the first one's is `master`."""
        return MASTER if node == self.load().nodes[0] else f"{MASTER}@{node}"

    def pid_file(self, daemon: str) -> Path:
        """Where a daemon writes its pid."""
        return self.home(daemon) / ("master.pid" if is_master(daemon) else "agent.pid")

    def output_of(self, daemon: str) -> Path:
        """What that daemon printed."""
        return self.output / f"{daemon}.out"

    def load(self) -> Lab:
        """Read the settings. Raises LabError if there is no lab here."""
        try:
            return msgspec.json.decode(self.settings.read_bytes(), type=Lab)
        except FileNotFoundError:
            told = f"there is no lab in {self.directory}: cairn lab up --dir {self.directory}"
            raise LabError(told) from None
        except msgspec.MsgspecError as malformed:
            raise LabError(f"{self.settings}: {malformed}") from None

    def save(self, lab: Lab) -> None:
        """Make the directories, for their owner alone, and write the settings."""
        own = (self.directory, self.agents, self.machines, self.allocators, self.output)
        for directory in own:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings.write_bytes(_pretty(lab))

    def write(self, path: Path, settings: msgspec.Struct) -> None:
        """Write a settings file."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(_pretty(settings))


def is_master(daemon: str) -> bool:
    """Say whether this is a master daemon and not an agent."""
    return daemon.partition("@")[0] == MASTER


def default_directory() -> Path:
    """Return where the lab of this user is unless it is said otherwise."""
    if named := os.environ.get("CAIRN_LAB"):
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "cairn-lab"


def _pretty(settings: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n"
