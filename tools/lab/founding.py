"""A cluster with every node of a lab, by the same commands that a person types (edge)."""

from __future__ import annotations

import os
import subprocess
import time

import msgspec

from commands.api import VoterStatus
from eventstore.storage.log_view import LogView
from projections.events.configuration import NodeJoined
from shell.config import ClientConfig, Found
from shell.session import Session
from tools.lab import daemons
from tools.lab.layout import LabError, LabLayout

VOTERS_WITHIN_S = 60.0
_JOINED_WITHIN_S = 30.0
_LOOK_S = 0.02
_ASK_S = 0.2


def found_cluster(layout: LabLayout, name: str) -> None:
    """Make the cluster and add all nodes to it. Raises LabError with what a command said.

    When this returns, every node has joined: `gnt-node add` waits for its node, and the first one,
    which `gnt-cluster init` only invites, is waited for here.
    """
    voters = layout.load().voters
    # No more candidates than voters: each would follow the log with a daemon of its own.
    pool = () if voters == 1 else (f"--candidate-pool-size={voters}",)
    gnt(layout, "gnt-cluster", "init", *pool, name)
    for node in layout.load().nodes[1:]:
        gnt(layout, "gnt-node", "add", node)
    _wait_for_first(layout)
    wait_for_voters(layout)


def wait_for_voters(layout: LabLayout, *, within_s: float = VOTERS_WITHIN_S) -> None:
    """Wait until as many nodes vote as the lab is to have. Raises LabError."""
    wanted, deadline = layout.load().voters, time.monotonic() + within_s
    while (count := len(voting(layout))) < wanted:
        if time.monotonic() >= deadline:
            raise LabError(
                f"only {count} of {wanted} voters after {within_s:.0f} s: gnt-log status"
            )
        time.sleep(_ASK_S)


def voting(layout: LabLayout) -> tuple[str, ...]:
    """Return the names of the voters, as some voter knows them."""
    session = Session(find_config=lambda: read_config(layout))
    try:
        return session.ask("voter-status", None, VoterStatus).voters
    finally:
        session.close()


def read_config(layout: LabLayout) -> Found:
    """Return the settings of the lab's commands as they are now."""
    config = msgspec.json.decode(layout.client.read_bytes(), type=ClientConfig)
    return Found(layout.client, config)


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
