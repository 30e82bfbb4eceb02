"""One machine of a cluster with real drivers, in a network namespace of the test.

Disks are files, guests are emulated, interfaces are taps on a bridge of the namespace: all that a
machine without LVM, DRBD and KVM can do for real. Commands are run there as a person types them.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from nodeagent.hypervisor.kvm.records import Place
from shell.config import ClientConfig, Master
from tests.acceptance.live_lab import Ran
from tests.nodeagent.namespaces import Namespace, with_bridge
from tools.lab import daemons

ADDRESS, MASTER_ADDRESS = "192.0.2.1", "192.0.2.100"
NAME = "node1"
_PATIENCE_S = 60.0


class RealMachine:
    """A cluster whose only node is real. `directory` must be short: sockets have long names."""

    def __init__(self, directory: Path) -> None:
        self.namespace: Namespace = with_bridge()
        self.namespace.ip(f"address add {ADDRESS}/24 dev br0")
        self._directory = directory
        self._agent = directory / "agent"
        for each in (self._agent, self.files, directory / "tickets"):
            each.mkdir(parents=True)
        self._client = directory / "client.json"
        master = Master(
            directory="master", node=NAME, address=ADDRESS,
            command=(daemons.script("cairn-master"),), settings={"ballast_mib": 0},
        )  # fmt: skip
        config = ClientConfig(
            key_file="operator.key", operator="alice", ticket_dir="tickets", master=master
        )
        self._client.write_bytes(msgspec.json.encode(config))

    @property
    def files(self) -> Path:
        """Where disks are."""
        return self._directory / "files"

    def guest(self, uuid: str) -> Place:
        """Where the files of a guest that runs are."""
        return Place(self._directory / "kvm", uuid)

    @property
    def agent(self) -> int:
        """The agent's process."""
        return int((self._agent / "agent.pid").read_text())

    def up(self, *options: str) -> None:
        """Make the cluster, start the agent, wait until it has joined."""
        init = (
            "gnt-cluster init --enabled-hypervisors kvm --enabled-disk-templates file,diskless"
            f" --file-storage-dir {self.files} --master-netdev br0 --master-ip {MASTER_ADDRESS}"
            " --master-netmask 24"
        )
        self.ok(" ".join((init, *options, "c.example.net")))
        self._start_agent()
        self.until("gnt-node list --no-headers -o joined", "Y")

    def down(self) -> None:
        """End the daemons, and guests that a test that failed has left."""
        for pid_file in (self._directory / "master/master.pid", self._agent / "agent.pid"):
            pid = daemons.running(pid_file)
            if pid is not None:
                daemons.end(pid)
        for left in (self._directory / "kvm").glob("*/pid"):
            daemons.send(int(left.read_text()), signal.SIGKILL)
        self.namespace.close()

    def run(self, line: str) -> Ran:
        """Run one line as a person would type it on this machine."""
        tool, *arguments = shlex.split(line)
        done = subprocess.run(
            [*self._inside, daemons.script(tool), *arguments],
            env={"CAIRN_CONFIG": str(self._client), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Ran(line, done.returncode, done.stdout, done.stderr)

    def ok(self, line: str) -> str:
        """Run a line that must succeed; return what it printed."""
        ran = self.run(line)
        assert ran.status == 0, str(ran)
        return ran.out

    def until_ok(self, line: str) -> None:
        """Run a line again and again until it succeeds."""
        deadline = time.monotonic() + _PATIENCE_S
        while (ran := self.run(line)).status != 0:
            assert time.monotonic() < deadline, str(ran)
            time.sleep(0.1)

    def until(self, line: str, wanted: str) -> None:
        """Wait until a line prints this."""
        deadline = time.monotonic() + _PATIENCE_S
        while (said := self.ok(line).strip()) != wanted:
            assert time.monotonic() < deadline, f"{line}: {said!r}, not {wanted!r}"
            time.sleep(0.1)

    @property
    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.namespace.pid}/ns/net")

    def _start_agent(self) -> None:
        config: dict[str, Any] = {
            "drivers": "real",
            "file_path": [str(self.files)],
            "shared_file_path": [],
            "run_directory": str(self._directory / "run"),
            "kvm": {
                "run_directory": str(self._directory / "kvm"),
                "state_directory": str(self._directory / "state"),
            },
        }
        (self._agent / "agent.json").write_bytes(msgspec.json.encode(config))
        ticket = self._directory / "tickets" / NAME / "ticket.json"
        ticket.rename(self._agent / "ticket.json")
        command = [*self._inside, daemons.script("cairn-agent"), "--dir", str(self._agent)]
        daemons.start(command, output=self._directory / "agent.out")
