"""Where the cluster is, as this machine's commands know it: one JSON file (edge).

Looked for, first found wins: the file that CAIRN_CONFIG names; ~/.config/cairn/client.json;
/etc/cairn/client.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from eventstore.durable_file import replace
from nodeagent.calls import Voter
from shell.failure import Failure, Status

VARIABLE = "CAIRN_CONFIG"
SYSTEM_FILE = Path("/etc/cairn/client.json")
USER_FILE = Path("~/.config/cairn/client.json")


class Master(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `gnt-cluster init` needs in order to make a master daemon on this machine."""

    directory: str  # where its settings, keys and log are (commands/master/config.py)
    node: str  # the name of the first node, which is this machine
    address: str = "127.0.0.1"  # where it listens and is reached
    requests_port: int = 1811
    publications_port: int = 1812
    replication_port: int = 1813  # for other voters
    segments_port: int = 1814  # for what other voters send in bulk
    command: tuple[str, ...] = ("cairn-master",)  # how the daemon is started; --dir is added
    unit: str = ""  # the unit of systemd that starts it instead
    user: str = ""  # who it is, and whose its files are; empty: whoever runs init
    log_file: str = ""  # its output; empty: <directory>/master.out
    agent: str = ""  # the directory of this machine's agent, for its ticket; empty: <directory>
    settings: dict[str, float | int | str] = {}  # further settings of MasterConfig


class Ssh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How `gnt-node add` prepares a machine that has Cairn installed."""

    command: tuple[str, ...] = ("ssh",)  # with options of its own, such as a key
    user: str = "root"
    directory: str = "/var/lib/cairn/agent"  # of the agent, on the node
    start: tuple[str, ...] = ("systemctl", "enable", "--now", "cairn-agent.service")


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The client's settings. Paths are absolute, or relative to the file."""

    key_file: str  # this user's CURVE key
    voters: tuple[Voter, ...] = ()  # empty: no cluster yet; `gnt-cluster init` fills it in
    operator: str = ""  # this user's name in the log; empty: user@host
    # Where tickets of new nodes are laid down, as <ticket_dir>/<node>/ticket.json; empty: on the
    # node itself, over SSH
    ticket_dir: str = ""
    ssh: Ssh = Ssh()
    master: Master | None = None


class Found(msgspec.Struct, frozen=True):
    """The settings, and the file they came from."""

    path: Path
    config: ClientConfig

    def resolve(self, name: str) -> Path:
        """Return a path of the settings as an absolute one."""
        return (self.path.parent / Path(name).expanduser()).absolute()


def find_path() -> Path | None:
    """Return the file of the settings, None if there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    for path in (USER_FILE.expanduser(), SYSTEM_FILE):
        if path.exists():
            return path
    return None


def load() -> Found:
    """Read the settings. Raises Failure (exit status 5) if there are none, or malformed ones."""
    path = find_path()
    if path is None:
        raise Failure(
            "This machine is not part of a cluster, and no cluster is known here.",
            hint=f"gnt-cluster init makes one; or set {VARIABLE} to a client.json that names one",
            status=Status.NOT_CLUSTER,
        )
    try:
        return Found(path, msgspec.json.decode(path.read_bytes(), type=ClientConfig))
    except OSError as failed:
        raise Failure(
            f"{path}: {failed.strerror}",
            hint=f"{VARIABLE} must name a readable client.json",
            status=Status.NOT_CLUSTER,
        ) from None
    except msgspec.MsgspecError as malformed:
        raise Failure(
            f"{path}: {malformed}",
            hint="docs/commands.md shows what may stand in it",
            status=Status.NOT_CLUSTER,
        ) from None


def save(found: Found, config: ClientConfig) -> Found:
    """Write changed settings to the file they came from, durably, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"
    # No secret is in it; and others may save as well, hence a draft of our own.
    replace(found.path, text, mode=0o666, draft=f"new-{os.getpid()}")
    return Found(found.path, config)
