"""A lab that is prepared once and put back as it was, in the same place, for each run.

Draws come from a seed, so two runs of the same job from the same start make the same names, ids and
numbers: what they leave can be compared to the letter, but for times. For the same reason nodes are
started so that none is seen without its peers, and none counts as lost on a machine that is busy
with other things: a primary that finds itself alone draws a new generation, and a job goes round a
node that is lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

from commands.api import Query, QueryReply
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import until
from tools.lab.control import SOCKET
from tools.lab.founding import gnt

SEED = "the same draws in every run"
_BUSY_S = 120.0  # a node may be silent for so long


class PreparedLab(LiveLab):
    """Three nodes in one cluster, `lab` to work with and a copy to begin anew from."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "lab")
        self._copy = directory / "copy"
        self.prepared = 0  # seq of the first record that is not in the copy

    def prepare(self, *commands: tuple[str, ...], nodes: int = 3) -> None:
        """Make the lab, run these commands in it, and keep a copy of what they leave."""
        self.up(nodes=nodes, draw_seed=SEED, lost_after_s=_BUSY_S)
        for command in commands:
            gnt(self.layout, *command)
        self.stop()
        self.prepared = self.head + 1
        of_processes = shutil.ignore_patterns(SOCKET, "*.pid")
        shutil.copytree(self.layout.directory, self._copy, symlinks=True, ignore=of_processes)

    def restart(self, *, fault: str = "") -> None:
        """Begin anew from the copy: agents and master run, the master with this CAIRN_FAULT."""
        self.stop()
        shutil.rmtree(self.layout.directory, ignore_errors=True)
        shutil.copytree(self._copy, self.layout.directory, symlinks=True)
        self._keep_volumes()
        self.start_master(fault=fault)
        self._start_nodes()
        until(self._every_node_was_heard)

    def _start_nodes(self) -> None:
        """Start all agents, and let none look around before all are there."""
        nodes = self.layout.load().nodes
        for node in nodes:
            self.start(node)
            self.kill(node, signal.SIGSTOP)
        for node in nodes:
            self.kill(node, signal.SIGCONT)

    def _every_node_was_heard(self) -> bool:
        session = self.session()
        try:
            reply = session.ask("query", Query(what="node", fields=("mfree",)), QueryReply)
        finally:
            session.close()
        return all(isinstance(free, int) for ((_, free),) in reply.rows)

    def _keep_volumes(self) -> None:
        """A copied volume is another file: let the simulated mirrors take it for the same one."""
        for path in self.layout.machines.glob("*/mirror.json"):
            mirrors = json.loads(path.read_text())
            for side in mirrors.get("sides", {}).values():
                side["file_id"] = os.stat(side["path"]).st_ino
            path.write_text(json.dumps(mirrors))
