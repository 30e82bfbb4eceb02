"""The master daemon is killed before and after every record of one job, and started again.

Each run begins from the same prepared lab with the same draws, and a real command waits for the job
through the crash. Whatever the place of the crash, the job succeeds, and the configuration and the
state of every simulated driver are those of a run that nobody disturbed, the count of every effect
included: nothing was lost, nothing was done twice.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from typing import Any

from projections.events.configuration import DiskStateSeen
from tests.acceptance.prepared_lab import PreparedLab
from tests.replaycheck import check_replay
from tools.lab import running
from tools.lab.layout import MASTER

PATIENCE_S = 60.0
_TRIES = 5


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves when nobody disturbs it."""

    first: int  # seq of the job's first record
    last: int  # and of its last
    configuration: dict[str, Any]
    drivers: dict[str, Any]


def undisturbed(lab: PreparedLab, command: tuple[str, ...]) -> Undisturbed:
    """Run `command` in peace and note what it leaves.

    On a machine that is busy a node may be seen without its peers after all, for a moment; that
    puts records before the job that other runs do not have, so it is done again.
    """
    for _ in range(_TRIES):
        lab.restart()
        begun = lab.records()[-1].record.seq
        if not any(
            stored.record.kind == DiskStateSeen.KIND for stored in lab.records(lab.prepared)
        ):
            break
    _expect_success(lab, command)
    lab.stop()
    seqs = [stored.record.seq for stored in lab.records(begun + 1) if stored.record.job is not None]
    return Undisturbed(min(seqs), max(seqs), lab.configuration(), lab.drivers())


def disturbed(lab: PreparedLab, command: tuple[str, ...], fault: str, calm: Undisturbed) -> bool:
    """Run `command` while the master dies at `fault`; return whether it died.

    Asserts that the outcome is that of the undisturbed run. (Where agents race, the job may be
    through in fewer records than the undisturbed run took; then nothing dies.)
    """
    lab.restart(fault=fault)
    master = running.pids(lab.layout)[MASTER]
    assert master is not None
    client = lab.command(*command)
    died = _died_first(master, client.pid)
    if died:
        lab.start_master()
    output, _ = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0, f"{fault}: {output}"
    lab.stop()
    assert lab.configuration() == calm.configuration, fault
    assert lab.drivers() == calm.drivers, fault
    check_replay(lab.log)
    return died


def _expect_success(lab: PreparedLab, command: tuple[str, ...]) -> None:
    client = lab.command(*command)
    output, _ = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0, output


def _died_first(master: int, client: int) -> bool:
    """Wait until one of two processes ends; say whether it was the master."""
    try:
        of_master = os.pidfd_open(master)
    except ProcessLookupError:
        return True
    of_client = os.pidfd_open(client)
    try:
        ready, _, _ = select.select([of_master, of_client], [], [], PATIENCE_S)
        assert ready, "neither the master nor the client ended"
        return of_master in ready
    finally:
        os.close(of_master)
        os.close(of_client)
