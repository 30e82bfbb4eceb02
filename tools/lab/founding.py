"""A cluster with every node of a lab, by the same commands that a person types (edge)."""

from __future__ import annotations

import os
import subprocess
import time

from eventstore.log_view import LogView
from projections.events.configuration import NodeJoined
from tools.lab import daemons
from tools.lab.layout import LabError, LabLayout

_JOINED_WITHIN_S = 30.0
_LOOK_S = 0.02


def found_cluster(layout: LabLayout, name: str) -> None:
    """Make the cluster and add all nodes to it. Raises LabError with what a command said.

    When this returns, every node has joined: `gnt-node add` waits for its node, and the first one,
    which `gnt-cluster init` only invites, is waited for here.
    """
    gnt(layout, "gnt-cluster", "init", name)
    for node in layout.load().nodes[1:]:
        gnt(layout, "gnt-node", "add", node)
    _wait_for_first(layout)


def _wait_for_first(layout: LabLayout) -> None:
    deadline = time.monotonic() + _JOINED_WITHIN_S
    with LogView(layout.master / "log") as view:
        seq, joined = 0, 0
        while joined < len(layout.load().nodes):
            for stored in view.iterate(seq + 1):
                seq = stored.record.seq
                joined += stored.record.kind == NodeJoined.KIND
            if time.monotonic() > deadline:
                raise LabError(f"{layout.load().nodes[0]} does not join; cairn lab status")
            time.sleep(_LOOK_S)


def gnt(layout: LabLayout, tool: str, *arguments: str) -> str:
    """Run one command against the lab; return what it printed. Raises LabError if it fails."""
    done = subprocess.run(
        [daemons.script(tool), *arguments],
        env=environment(layout),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{tool} {' '.join(arguments)}: {done.stderr.strip() or done.stdout}")
    return done.stdout


def environment(layout: LabLayout) -> dict[str, str]:
    """Return the environment in which every command talks to this lab."""
    return {**os.environ, "CAIRN_CONFIG": str(layout.client), "CAIRN_LAB": str(layout.directory)}
