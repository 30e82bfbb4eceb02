"""A lab that is prepared once and put back as it was, in the same place, for each run.

Draws come from a seed, so two runs of the same job from the same start make the same names, ids and
numbers: what they leave can be compared to the letter, but for times.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.acceptance.live_lab import LiveLab
from tools.lab import running
from tools.lab.control import SOCKET
from tools.lab.founding import gnt

SEED = "the same draws in every run"


class PreparedLab(LiveLab):
    """Three nodes in one cluster, `lab` to work with and a copy to begin anew from."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "lab")
        self._copy = directory / "copy"

    def prepare(self, *commands: tuple[str, ...], nodes: int = 3) -> None:
        """Make the lab, run these commands in it, and keep a copy of what they leave."""
        self.up(nodes=nodes, draw_seed=SEED)
        for command in commands:
            gnt(self.layout, *command)
        self.stop()
        of_processes = shutil.ignore_patterns(SOCKET, "*.pid")
        shutil.copytree(self.layout.directory, self._copy, symlinks=True, ignore=of_processes)

    def restart(self, *, fault: str = "") -> None:
        """Begin anew from the copy: agents and master run, the master with this CAIRN_FAULT."""
        self.stop()
        shutil.rmtree(self.layout.directory, ignore_errors=True)
        shutil.copytree(self._copy, self.layout.directory, symlinks=True)
        self._keep_volumes()
        for node in self.layout.load().nodes:
            running.start(self.layout, node)
        self.start_master(fault=fault)

    def _keep_volumes(self) -> None:
        """A copied volume is another file: let the simulated mirrors take it for the same one."""
        for path in self.layout.machines.glob("*/mirror.json"):
            mirrors = json.loads(path.read_text())
            for side in mirrors.get("sides", {}).values():
                side["file_id"] = os.stat(side["path"]).st_ino
            path.write_text(json.dumps(mirrors))
