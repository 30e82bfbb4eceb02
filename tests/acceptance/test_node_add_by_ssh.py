"""`gnt-node add` prepares a node over SSH, by a real client and server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shell.config import ClientConfig, Ssh
from shell.failure import Status
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.local_sshd import LocalSshd, local_sshd
from tools.lab import daemons

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an SSH server that lets others in must be root"),
]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSshd]:
    with local_sshd(tmp_path_factory.mktemp("ssh") / "sshd") as server:
        yield server


@pytest.fixture
def small_lab(tmp_path: Path) -> Iterator[LiveLab]:
    """A cluster of one node."""
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=1)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """The directory of an agent that nobody has started yet."""
    return tmp_path / "agent"


def settings(lab: LiveLab, sshd: LocalSshd, agent: Path, start: str) -> dict[str, str]:
    """Settings of a client that reaches nodes over SSH; `start`: a script that starts the agent."""
    script = agent.with_name("start")
    script.write_text(f"#!/bin/sh\n{start}\n")
    script.chmod(0o755)
    before = msgspec.json.decode(lab.layout.client.read_bytes(), type=ClientConfig)
    ssh = Ssh(command=sshd.client, directory=str(agent), start=(str(script), "now, at once"))
    config = lab.layout.client.with_name("ssh-client.json")
    config.write_bytes(msgspec.json.encode(msgspec.structs.replace(before, ticket_dir="", ssh=ssh)))
    return {"CAIRN_CONFIG": str(config)}


def starting(lab: LiveLab, agent: Path) -> str:
    command = f"{daemons.script('cairn-agent')} --dir {agent} --lab {lab.layout.machines}"
    return f"[ \"$1\" = 'now, at once' ] && setsid {command} >{agent}.out 2>&1 </dev/null &"


def test_the_node_is_prepared_and_joins(small_lab: LiveLab, sshd: LocalSshd, agent: Path) -> None:
    """One command: the ticket is on the node, its agent runs, the node is a member; the agent was
    told nothing else, not even its name."""
    env = settings(small_lab, sshd, agent, starting(small_lab, agent))
    try:
        ran = small_lab.run("gnt-node add node7", env=env)
        assert ran.status == 0, str(ran)
        assert "node7" in small_lab.ok("gnt-node list --no-headers -o name")
        assert not (agent / "ticket.json").exists()  # it was used
        assert (agent / "identity.json").stat().st_mode & 0o777 == 0o600
    finally:
        pid = daemons.running(agent / "agent.pid")
        if pid is not None:
            daemons.end(pid)


def test_a_node_that_cannot_be_prepared_is_not_invited(
    small_lab: LiveLab, sshd: LocalSshd, agent: Path
) -> None:
    """What the node said is shown; nothing was submitted."""
    env = settings(small_lab, sshd, agent, "echo 'Unit cairn-agent.service not found.' >&2; exit 5")
    before = len(small_lab.records())
    ran = small_lab.run("gnt-node add node7", env=env)
    assert ran.status == Status.NODE_SETUP
    assert "exit status 5" in ran.err
    assert "Unit cairn-agent.service not found." in ran.err
    assert len(small_lab.records()) == before


def test_a_stranger_in_the_nodes_place_gets_no_ticket(
    small_lab: LiveLab, sshd: LocalSshd, agent: Path
) -> None:
    """A host key that is not known is not taken, unless one says so."""
    known = "UserKnownHostsFile="
    forgetful = LocalSshd(
        tuple(f"{known}/dev/null" if word.startswith(known) else word for word in sshd.client)
    )
    env = settings(small_lab, forgetful, agent, "exit 5")
    ran = small_lab.run("gnt-node add node7", env=env)
    assert "cannot be reached over SSH" in ran.err
    assert not agent.exists()
    ran = small_lab.run("gnt-node add --no-ssh-key-check node7", env=env)
    assert "exit status 5" in ran.err
