"""A lab that is prepared once and put back as it was, in the same place, for each run.

Draws come from a seed, so two runs of the same job from the same start make the same names, ids and
numbers: what they leave can be compared to the letter, but for times.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from eventstore.log_view import LogView
from eventstore.record import Stored
from projections.past import replay
from tools.lab import daemons, running
from tools.lab.founding import environment, found_cluster, gnt
from tools.lab.layout import MASTER, LabLayout

SEED = "the same draws in every run"
CLUSTER = "cluster.example.net"
_TIMES = frozenset({"ctime_ms", "mtime_ms"})
_PLACES = frozenset({"file_id"})  # inode numbers
DRIVER_FILES = ("volumes.json", "mirror.json", "hypervisor.json", "network.json")


class PreparedLab:
    """Three nodes in one cluster, `lab` to work with and a copy to begin anew from."""

    def __init__(self, directory: Path) -> None:
        self.layout = LabLayout(directory / "lab")
        self._copy = directory / "copy"

    def prepare(self, *commands: tuple[str, ...], nodes: int = 3) -> None:
        """Make the lab, run these commands in it, and keep a copy of what they leave."""
        names = [f"node{number}" for number in range(1, nodes + 1)]
        running.up(self.layout, names, settings={"draw_seed": SEED})
        found_cluster(self.layout, CLUSTER)
        for command in commands:
            gnt(self.layout, *command)
        self.stop()
        shutil.copytree(self.layout.directory, self._copy, symlinks=True)

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

    def start_master(self, *, fault: str = "") -> int:
        """Start the master daemon; return its pid."""
        before = os.environ.pop("CAIRN_FAULT", None)
        try:
            if fault:
                os.environ["CAIRN_FAULT"] = fault
            return running.start(self.layout, MASTER)
        finally:
            os.environ.pop("CAIRN_FAULT", None)
            if before is not None:
                os.environ["CAIRN_FAULT"] = before

    def stop(self) -> None:
        """End every daemon; the files stay."""
        if self.layout.settings.exists():
            for pid in running.pids(self.layout).values():
                if pid is not None:
                    daemons.end(pid)

    def command(self, *command: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        tool, *arguments = command
        return subprocess.Popen(
            [daemons.script(tool), *arguments],
            env=environment(self.layout),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def log(self) -> Path:
        """The directory of the master's log."""
        return self.layout.master / "log"

    def records(self, first: int = 1) -> list[Stored]:
        """Return the records of the log from `first` on."""
        with LogView(self.log) as view:
            return list(view.iterate(first))

    def configuration(self) -> dict[str, Any]:
        """Return every object of the configuration, from the log alone, without times."""
        with LogView(self.log) as view:
            cluster = replay(view).state.cluster
        tables = ("cluster", "group", "node", "instance")
        objects = {
            f"{table}/{uuid}": _without(msgspec.to_builtins(thing), _TIMES)
            for table in tables
            for uuid, thing in cluster.table(table).items()
        }
        return {**objects, "reserved": dict(cluster.reserved), "duties": dict(cluster.duties)}

    def drivers(self) -> dict[str, Any]:
        """Return the state of every simulated driver, with how often each effect happened."""
        return {
            f"{node}/{name}": _without(json.loads(path.read_text()), _PLACES)
            for node in self.layout.load().nodes
            for name in DRIVER_FILES
            if (path := self.layout.machines / node / name).exists()
        }


def _without(thing: Any, names: frozenset[str]) -> Any:
    """Return builtins without the members of these names, at any depth."""
    if isinstance(thing, dict):
        return {key: _without(value, names) for key, value in thing.items() if key not in names}
    if isinstance(thing, list):
        return [_without(each, names) for each in thing]
    return thing
