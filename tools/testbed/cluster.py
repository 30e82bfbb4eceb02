"""A Cairn cluster on the nodes of the test bed, with real drivers (edge).

The first node has the master daemon and the operator's settings; each node has its agent. Tickets
are carried from the first node to the others, as a person would without SSH. Everything in a node
is many times slower than on a real machine, so what waits there is patient.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from tools.testbed.bed import Bed
from tools.testbed.layout import NODES, SUBNET, VOLUME_GROUP, BedError, address_of
from tools.testbed.machine import Ended

NAME, MASTER_ADDRESS = "cluster.example.net", f"{SUBNET}.100"
AGENTS = "/var/lib/cairn/agents"  # where each node's agent has its directory, by the node's name
MASTER = "/var/lib/cairn/master"  # of the master daemon, on the first node
_FIRST = NODES[0]
_BRIDGE = "xen-br0"  # of guests, by Ganeti's default
_POOLS = "/srv/ganeti/file-storage /srv/ganeti/shared-file-storage"
_CARRY_WITHIN_S = 120.0
_MASTER_WITHIN_S = 300.0
_LINE_S = 600.0  # that one command may take
_LOOK_S = 0.5
# What a guest cannot have here: a kernel of the site's, a processor's own virtualization, a screen.
_HYPERVISOR = "kvm:kernel_path=,kvm_flag=disabled,vnc_bind_address=,serial_console=false"


class RealCluster:
    """The cluster on `bed`, whose nodes are up. `say` gets each command with what it printed."""

    def __init__(self, bed: Bed, say: Callable[[str], None] = lambda _: None) -> None:
        self._bed, self._say = bed, say

    def found(self) -> None:
        """Start the agents, make the cluster, and take all nodes in. Raises BedError."""
        with ThreadPoolExecutor(len(NODES)) as threads:
            list(threads.map(self.start_agent, NODES))
        client = {
            "key_file": "/var/lib/cairn/operator.key",
            "ticket_dir": AGENTS,
            "master": {
                "directory": MASTER,
                "node": _FIRST,
                "address": address_of(_FIRST),
                "settings": {"ballast_mib": 0, "max_voters": 1, "lost_after_s": 30.0},
            },
        }
        self._put(_FIRST, "/etc/cairn/client.json", client)
        made = self.attempt(
            f"gnt-cluster init --master-netdev eth1 --master-ip {MASTER_ADDRESS} "
            f"--enabled-hypervisors kvm -H {_HYPERVISOR} --vg-name {VOLUME_GROUP} {NAME}"
        )
        if made.status and b"does not answer" not in made.stderr:
            raise BedError(f"gnt-cluster init: {made.stderr.decode(errors='replace')}")
        self._wait_for_master()
        for node in NODES[1:]:
            with ThreadPoolExecutor(1) as threads:
                carried = threads.submit(self._carry_ticket, node)
                self.run(f"gnt-node add {node}")
                carried.result()

    def _wait_for_master(self) -> None:
        """Return once the master answers: here it may start more slowly than `init` waits."""
        deadline = time.monotonic() + _MASTER_WITHIN_S
        while (asked := self._bed.nodes[_FIRST].run(["gnt-cluster", "getmaster"])).status:
            if time.monotonic() > deadline:
                said = asked.stderr.decode(errors="replace")
                raise BedError(f"there is no master on {_FIRST}: {said}")

    def start_agent(self, node: str) -> None:
        """The agent of a node runs, with real drivers."""
        home = f"{AGENTS}/{node}"
        kvm = {"accelerator": "tcg", "start_s": 300.0}
        config = {"name": node, "drivers": "real", "kvm": kvm, "settle_s": 5.0}
        bridge = f"ip link show {_BRIDGE} || ip link add {_BRIDGE} type bridge"
        script = f"mkdir -p {home} {_POOLS} && ({bridge}) && ip link set {_BRIDGE} up"
        self._bed.nodes[node].check("sh", "-c", script)
        self._put(node, f"{home}/agent.json", config)
        start = f"setsid cairn-agent --dir {home} >>/var/log/agent.out 2>&1 </dev/null &"
        self._bed.nodes[node].check("sh", "-c", start)

    def run(self, line: str) -> str:
        """Run a command as the operator on the first node; return what it printed.

        Raises BedError with its words if it fails.
        """
        ended = self.attempt(line)
        if ended.status:
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise BedError(f"{line}: status {ended.status}: {said}")
        return ended.text

    def attempt(self, line: str) -> Ended:
        """Run a command as `run` does, whatever comes of it."""
        began = time.monotonic()
        ended = self._bed.nodes[_FIRST].run(shlex.split(line), timeout_s=_LINE_S)
        words = (ended.stdout + ended.stderr).decode(errors="replace").rstrip()
        took_s = time.monotonic() - began
        self._say(f"$ {line}    [status {ended.status} after {took_s:.1f} s]\n{words}")
        return ended

    def _put(self, node: str, path: str, settings: Mapping[str, object]) -> None:
        script = f'mkdir -p "$(dirname {path})" && cat >{path}'
        self._bed.nodes[node].check("sh", "-c", script, stdin=json.dumps(settings).encode())

    def _carry_ticket(self, node: str) -> None:
        path = f"{AGENTS}/{node}/ticket.json"
        deadline = time.monotonic() + _CARRY_WITHIN_S
        while (ticket := self._bed.nodes[_FIRST].run(["cat", path])).status:
            if time.monotonic() > deadline:
                raise BedError(f"there is no ticket for {node}")
            time.sleep(_LOOK_S)
        script = f"cat >{path}.new && mv {path}.new {path}"
        self._bed.nodes[node].check("sh", "-c", script, stdin=ticket.stdout)
