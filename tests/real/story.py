"""How the chapters of a session on the test bed look at its nodes, and wait for them.

A node is slow, and how slow depends on what else this machine does: so nothing here waits for a
time, only for what is to be seen, within bounds that are far beyond what it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.nodeagent.kvm.tiny import make_disk
from tools.testbed.bed import Bed
from tools.testbed.cluster import AGENTS, RealCluster
from tools.testbed.machine import Ended, Machine

DATA = b"precious" * 512  # 4 KiB
WITHIN_S = 400.0
SIMPLE = "-o noop -B maxmem=128,minmem=128,vcpus=1 --no-nics -H kvm:vhost_net=false"
_OFFSET = 1000  # blocks of 4 KiB from the start of a disk, behind the guest
_LOOK_S = 0.3
_HOLD, _HELD = "/run/cairn-hold", "/run/cairn-held"
# Listens to a serial console until the guest has counted on: one number may be cut off at the
# beginning, so the second one counts.
_LISTEN = r"""
import re, socket, sys
console = socket.socket(socket.AF_UNIX)
console.settimeout(float(sys.argv[2]))
console.connect(sys.argv[1])
heard = b""
while len(ticks := re.findall(rb"TINY (\d{6})\r", heard)) < 2:
    heard += console.recv(4096) or sys.exit("the console was closed")
print(ticks[-1].decode())
"""
# Lets the connection of a migration come about, and then nothing of a guest's memory through.
_JAM = """
table inet cairn-jam {
    chain in {
        type filter hook input priority 0
        tcp dport 8102 meta length > 600 drop
    }
}
"""


class Finding(NamedTuple):
    """One line of `gnt-cluster verify`."""

    severity: str
    code: str
    object: str
    message: str


class Story:
    """The cluster of a session, its nodes, and what is asked of them."""

    def __init__(self, bed: Bed, cluster: RealCluster) -> None:
        self.bed, self.cluster = bed, cluster
        self.run = cluster.run
        self._uuids: dict[str, str] = {}

    def node(self, name: str) -> Machine:
        """A node as a machine."""
        return self.bed.nodes[name]

    # --- what is asked of the cluster ---------------------------------------------------------

    def fields(self, instance: str, names: str) -> tuple[str, ...]:
        """Fields of an instance, in this order; `names` with commas between them."""
        shown = self.run(f"gnt-instance list --no-headers --separator=| -o {names} {instance}")
        return tuple(shown.strip().split("|"))

    def place(self, instance: str) -> tuple[str, ...]:
        """Where an instance is, and how it is: its primary, its secondary, its status."""
        return self.fields(instance, "pnode,snodes,status")

    def uuid(self, instance: str) -> str:
        """The uuid of an instance."""
        if instance not in self._uuids:
            (self._uuids[instance],) = self.fields(instance, "uuid")
        return self._uuids[instance]

    def findings(self) -> list[Finding]:
        """What `gnt-cluster verify` finds."""
        said = self.cluster.attempt("gnt-cluster verify --error-codes").text
        lines = [line.split(":", 3) for line in said.splitlines()]
        return [Finding(*line) for line in lines if line[0] in ("ERROR", "WARNING")]

    def errors(self) -> list[Finding]:
        """Those that are more than warnings."""
        return [finding for finding in self.findings() if finding.severity == "ERROR"]

    def job_of(self, opcode: str, *, status: str = "running") -> str:
        """The number of the job that has such an opcode, and this status."""
        jobs = self.run("gnt-job list --no-headers --separator=| -o id,status,summary")
        lines = [line.split("|", 2) for line in jobs.splitlines()]
        (found,) = (job for job, now, summary in lines if opcode in summary and now == status)
        return found

    @contextmanager
    def begun(self, *lines: str) -> Iterator[list[Future[Ended]]]:
        """These commands are under way, side by side."""
        threads = ThreadPoolExecutor(len(lines))
        try:
            yield [threads.submit(self.cluster.attempt, line) for line in lines]
        finally:
            threads.shutdown(wait=False)  # if something went wrong they may never end

    # --- what is seen on the nodes ------------------------------------------------------------

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that happens in the nodes by itself. `what`: what it was not."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(_LOOK_S)

    def until_clean(self) -> None:
        """Wait until `gnt-cluster verify` finds nothing: what has just changed may be reported for
        a moment, as by a mirror whose sides are about to meet."""
        self.until(lambda: not self.findings(), "the last verify has found something")

    def until_heard(self, node: str) -> None:
        """Wait until the cluster hears of a node, so that calls are made there."""
        self.until(
            lambda: ("ENODERPC", node) not in [each[1:3] for each in self.findings()],
            f"{node} is not heard of",
        )

    def mirrors(self, node: str) -> str:
        """What DRBD says on a node."""
        return self.node(node).check("cat", "/proc/drbd")

    def until_mirrored(self, node: str) -> None:
        """Wait until all mirrors of a node are whole."""
        self.until(lambda: _whole(self.mirrors(node)), f"{node}: a mirror is not whole")

    def volumes(self, node: str) -> list[str]:
        """The names of a node's volumes."""
        return self.node(node).check("lvs", "--noheadings", "-o", "lv_name").split()

    def commands(self, node: str) -> list[str]:
        """The tools that a node's agent has run so far, and with drbdsetup the order."""
        script = f"sed -n 's/.*nodeagent.runner: //p' {AGENTS}/{node}/agent.log"
        lines = [line.split() for line in self.node(node).check("sh", "-c", script).splitlines()]
        ran = [line for line in lines if line[-1] == "ms"]
        return [" ".join(line[:2]) if line[0] == "drbdsetup" else line[0] for line in ran]

    def is_sent(self, node: str) -> bool:
        """Whether a guest is being sent from this node: its QEMU has a connection to another's."""
        found = self.node(node).check("ss", "-Htn", "state", "established", "dport", "= :8102")
        return bool(found.strip())

    # --- what is on disks, and who runs from them ---------------------------------------------

    def write(self, node: str, data: bytes, device: str = "/dev/drbd0") -> None:
        """Write to a disk on its primary node."""
        where = [f"of={device}", "bs=4096", f"seek={_OFFSET}", "conv=notrunc,fsync", "status=none"]
        self.node(node).check("dd", *where, stdin=data)

    def read(self, node: str, device: str = "/dev/drbd0") -> bytes:
        """Read what was written, beneath every cache."""
        where = [f"if={device}", "bs=4096", f"skip={_OFFSET}", "count=1", "iflag=direct"]
        return self.node(node).run(["dd", *where, "status=none"]).stdout

    def install_guest(self, node: str, device: str, scratch: Path) -> None:
        """Put the guest that counts (tests/nodeagent/kvm/tiny.s) on a disk, from its start."""
        make_disk(scratch)
        where = [f"of={device}", "bs=64k", "conv=notrunc,fsync", "status=none"]
        self.node(node).check("dd", *where, stdin=scratch.read_bytes())

    def boots(self, node: str, device: str = "/dev/drbd0") -> int:
        """How often the guest has booted, by its own count on its disk."""
        script = f"dd if={device} bs=512 skip=1 count=1 status=none iflag=direct | head -c 4"
        return int(self.node(node).check("sh", "-c", script))

    def tick(self, node: str, instance: str) -> int:
        """The next number that the guest counts, which only its memory knows."""
        path = f"/run/cairn/kvm/{self.uuid(instance)}/serial"
        return int(self.node(node).check(
            "python3", "-c", _LISTEN, path, str(WITHIN_S), timeout_s=WITHIN_S
        ))  # fmt: skip

    # --- faults -------------------------------------------------------------------------------

    @contextmanager
    def held(self, node: str, *tools: str) -> Iterator[None]:
        """Whoever runs one of these programs on this node waits in it, until the node has no
        power."""
        machine = self.node(node)
        script = (
            'for tool in "$@"; do mv "$tool" "$tool.real"; '
            "printf '#!/bin/sh\\n"
            f'[ ! -p {_HOLD} ] || {{ echo "$0" >>{_HELD}; read -r _ <{_HOLD}; }}\\n'
            'exec "$0.real" "$@"\\n\' >"$tool"; chmod +x "$tool"; done; '
            f": >{_HELD}; mkfifo {_HOLD}"
        )
        machine.check("sh", "-c", script, "hold", *tools)
        yield
        # /run is gone with the power, so nobody waits any more; the programs are put back.
        script = 'for tool in "$@"; do mv "$tool.real" "$tool"; done'
        machine.check("sh", "-c", script, "hold", *tools)

    def holding(self, node: str) -> set[str]:
        """The held programs in which somebody waits."""
        return set(self.node(node).check("cat", _HELD).split())

    @contextmanager
    def jammed(self, node: str) -> Iterator[None]:
        """A guest that is sent to this node does not get there."""
        machine = self.node(node)
        machine.check("nft", "-f", "-", stdin=_JAM.encode())
        yield
        # It went with the power, if the node has lost that since.
        machine.run(["nft", "delete", "table", "inet", "cairn-jam"])

    def switch_on(self, node: str) -> None:
        """A node that had no power boots, and its agent starts, as its unit would have it."""
        self.bed.boot(node)
        self.cluster.start_agent(node)


def _whole(said: str) -> bool:
    """Whether DRBD has mirrors, and says of each that both its sides are in order."""
    states = [line for line in said.splitlines() if " cs:" in line]
    return bool(states) and all("UpToDate/UpToDate" in line for line in states)
