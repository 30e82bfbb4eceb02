"""The units of systemd say what the programs and their settings say."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from nodeagent.main import arguments
from shell.config import Ssh

UNITS = Path(__file__).parents[1] / "packaging" / "systemd"
AGENT, MASTER = "cairn-agent.service", "cairn-master.service"


def unit(name: str) -> configparser.ConfigParser:
    """Read a unit; of a setting that stands twice the last one counts here."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.read_string((UNITS / name).read_text())
    return parser


def command(name: str) -> list[str]:
    return shlex.split(unit(name)["Service"]["ExecStart"])


def test_a_node_is_prepared_for_this_unit() -> None:
    """`gnt-node add` writes the ticket where the unit's agent looks, and starts that unit."""
    ssh = Ssh()
    options = arguments().parse_args(command(AGENT)[1:])
    assert str(options.dir) == ssh.directory
    assert ssh.start == ("systemctl", "enable", "--now", AGENT)


def test_the_agent_starts_the_masters_unit() -> None:
    """Its files are where that unit looks for them, and its user is the one that is made."""
    options = arguments().parse_args(command(AGENT)[1:])
    assert options.master_unit == MASTER
    service = unit(MASTER)["Service"]
    assert service["User"] == options.master_user
    assert command(MASTER)[1:] == ["--dir", str(options.dir.parent / "master")]
    users = (UNITS / "cairn.sysusers").read_text().splitlines()
    assert [line.split()[:2] for line in users if not line.startswith("#")] == [
        ["u", options.master_user]
    ]


def test_guests_outlive_their_agent() -> None:
    """Nothing of the agent's children is ended with it, nor are its notes about them."""
    service = unit(AGENT)["Service"]
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert service["RuntimeDirectoryPreserve"] == "yes"
    for hidden in ("PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectSystem"):
        assert hidden not in service, "OS definitions mount and make devices"


@pytest.mark.parametrize("setting", ["CapabilityBoundingSet", "AmbientCapabilities"])
def test_the_master_has_no_capability(setting: str) -> None:
    """Nor may it get one."""
    service = unit(MASTER)["Service"]
    assert service[setting] == ""
    assert service["NoNewPrivileges"] == "yes"
