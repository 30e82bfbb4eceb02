"""Storms on labs of real processes for as long as it is wanted.

    python -m tests.acceptance.soak [--voters 5] [--minutes 60] [--seed N]

Lab after lab, each with faults drawn from the next seed (tests/acceptance/storm.py), network faults
too where this machine can make namespaces. After each, the logs and the clients' notes are checked.
What broke is printed with its seed, and the lab is kept; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.live_lab import LiveLab
from tests.acceptance.storm import Storm
from tools.lab import wires

_FAULTS = 20  # of one lab


def main(arguments: Sequence[str] | None = None) -> int:
    """Run storms until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.soak", description=__doc__)
    parser.add_argument("--voters", type=int, choices=(3, 5), default=5)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    if problem := wires.why_not():
        print(f"no faults of the network: {problem}")
    until_s = time.monotonic() + 60 * asked.minutes
    seed, faults, acked = asked.seed, 0, 0
    while time.monotonic() < until_s:
        directory = Path(tempfile.mkdtemp(prefix="cairn-soak-"))
        lab = LiveLab(directory / "lab")
        told, count, writes = weather(lab, asked.voters, seed, apart=not problem, until_s=until_s)
        faults, acked = faults + count, acked + writes
        if told:
            print(f"seed {seed}: {told}\nkept: {directory}; cairn lab down --dir {directory}/lab")
            return 1
        lab.down()
        shutil.rmtree(directory)
        print(f"seed {seed}: {count} faults, {writes} orders, every promise was kept", flush=True)
        seed += 1
    print(f"{seed - asked.seed} labs, {faults} faults, {acked} orders: every promise was kept")
    return 0


def weather(
    lab: LiveLab, voters: int, seed: int, *, apart: bool, until_s: float
) -> tuple[str, int, int]:
    """Let faults pass over a lab: what broke, "" if nothing; how many faults, and orders."""
    lab.up(nodes=voters, voters=voters, apart=apart, lost_after_s=600.0)
    storm = Storm(lab, lab.layout.directory.parent / "notes", seed=seed)
    count = 0
    try:
        while count < _FAULTS and time.monotonic() < until_s:
            name = storm.random.choice(sorted(storm.faults))
            print(f"  seed {seed}: {name}", flush=True)
            storm.faults[name]()
            count += 1
        broken = storm.settle()
    except AssertionError as failed:  # something did not come about in time
        return str(failed) or repr(failed), count, storm.load.acked
    finally:
        storm.end()
    return "; ".join(f"({promise}) {how}" for promise, how in broken), count, storm.load.acked


if __name__ == "__main__":
    raise SystemExit(main())
