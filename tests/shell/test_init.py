"""`gnt-cluster init` with a real daemon, in processes as an operator starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shell import config

pytestmark = pytest.mark.acceptance


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Path]:
    """The settings of a client that may make a cluster; its daemon ends with the test."""
    master = config.Master(
        directory="master",
        node="node1",
        requests_port=free_port(),
        publications_port=free_port(),
        replication_port=free_port(),
        segments_port=free_port(),
        command=(sys.executable, "-m", "commands.master.main"),
        settings={"ballast_mib": 0},
    )
    path = tmp_path / "client.json"
    found = config.ClientConfig(
        key_file="operator.key", operator="alice", ticket_dir="tickets", master=master
    )
    path.write_bytes(msgspec.json.encode(found))
    yield path
    pid_file = tmp_path / "master/master.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while pid_file.exists():
            assert time.monotonic() < deadline, "the daemon does not end"
            time.sleep(0.02)  # it is no child of ours: there is nothing else to wait for


def command(settings: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    program = "import sys; from shell.main import run; sys.exit(run(sys.argv[1], sys.argv[2:]))"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, config.VARIABLE: str(settings), "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=settings.parent,
        timeout=60,
    )


def test_init(settings: Path) -> None:
    """A cluster is made, its daemon answers, its log is sound; a second one is refused."""
    made = command(settings, "gnt-cluster", "init", "c.example.net", "-B", "vcpus=2")
    assert made.returncode == 0
    # a machine that is busy takes its time, and says so
    assert not made.stderr or made.stderr.startswith("The cluster is made; waiting for its master")
    assert (settings.parent / "tickets/node1/ticket.json").exists()
    assert command(settings, "gnt-cluster", "getmaster").stdout == "node1\n"
    listed = command(settings, "gnt-node", "list", "--no-headers", "-o", "name,role,joined")
    assert listed.stdout == "node1 M N\n"
    verified = command(settings, "gnt-log", "verify")
    assert verified.stdout.endswith("Verdict: sound\n")
    replayed = command(settings, "gnt-log", "replay", "--no-headers", "--separator", "|")
    assert [line.split("|")[3] for line in replayed.stdout.splitlines()] == ["Y", "Y", "Y"]
    again = command(settings, "gnt-cluster", "init", "c.example.net")
    assert again.returncode == 1
    assert "already initialised" in again.stderr


def test_the_ticket_may_go_to_the_machines_own_agent(settings: Path) -> None:
    """It lies where that agent looks, for nobody else to read, and it is said where."""
    before = msgspec.json.decode(settings.read_bytes(), type=config.ClientConfig)
    assert before.master is not None
    master = msgspec.structs.replace(before.master, agent="agent")
    after = msgspec.structs.replace(before, ticket_dir="", master=master)
    settings.write_bytes(msgspec.json.encode(after))
    made = command(settings, "gnt-cluster", "init", "c.example.net")
    ticket = settings.parent / "agent/ticket.json"
    assert made.returncode == 0
    assert str(ticket) in made.stderr
    assert ticket.stat().st_mode & 0o777 == 0o600
    assert ticket.parent.stat().st_mode & 0o777 == 0o700


def test_a_stranger_is_refused(settings: Path) -> None:
    """A key that the log does not admit gets no answer but a refusal."""
    assert command(settings, "gnt-cluster", "init", "c.example.net").returncode == 0
    known = msgspec.json.decode(settings.read_bytes(), type=config.ClientConfig)
    from eventstore.access.keys import new_curve_keys, save_curve_keys

    save_curve_keys(settings.parent / "stranger/stranger.key", new_curve_keys())
    stranger = msgspec.structs.replace(known, key_file="stranger/stranger.key")
    path = settings.parent / "stranger.json"
    path.write_bytes(msgspec.json.encode(stranger))
    refused = command(path, "gnt-node", "list")
    assert refused.returncode == 1
    assert "access_denied" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_daemon_that_cannot_start(settings: Path) -> None:
    """If the daemon ends at once, the words say with what, and where to look."""
    found = msgspec.json.decode(settings.read_bytes(), type=config.ClientConfig)
    assert found.master is not None
    broken = msgspec.structs.replace(
        found.master, command=("sh", "-c", "echo the port is taken; exit 3")
    )
    settings.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, master=broken)))
    made = command(settings, "gnt-cluster", "init", "c.example.net")
    assert made.returncode == 1
    assert "The cluster is made" in made.stderr
    assert "ended with status 3: the port is taken" in made.stderr
