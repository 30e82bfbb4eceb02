"""`make bench`: all benches, one after the other; or those that are named.

    python -m tests.bench [NAME...]

Each is a process of its own, so that none inherits what another left in memory. The exit status is
that of the worst: 1 if a bench that has bounds missed one, or could not be run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BENCHES = {
    "log": "appending and reading, against bare APSW",
    "lone": "one append after the other, on three voters and on one",
    "wire": "requests and publications over TCP with CURVE",
    "projections": "folds: memory, replay, states of the past (a minute or more)",
    "agent": "what a task costs its agent",
    "jobs": "jobs from the client to their end, over real processes",
    "failover": "SIGKILL of the leader of three to the next commit (two minutes)",
    "fanout": "1,000 subscribers and 1,000 agents on one master (a minute or two)",
    "cli": "process time of the commands",
    "placement": "allocation and balancing, the two smaller sizes",
}
ARGUMENTS = {"placement": ("--quick",)}  # larger ones are cut only after minutes


def present() -> list[str]:
    """Return the benches that this tree has, in the order in which they run."""
    return [name for name in BENCHES if Path(__file__).with_name(f"{name}.py").exists()]


def main() -> int:
    """Run them; return the exit status."""
    listed = "; ".join(f"{name}: {BENCHES[name]}" for name in present())
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__, epilog=listed)
    parser.add_argument("name", nargs="*", help="all if none is given")
    names: list[str] = parser.parse_args().name or present()
    if unknown := [name for name in names if name not in present()]:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(present())}")
    worst = 0
    for name in names:
        print(f"\n== {name}: {BENCHES[name]}\n", flush=True)
        command = [sys.executable, "-m", f"tests.bench.{name}", *ARGUMENTS.get(name, ())]
        done = subprocess.run(command, check=False)
        if done.returncode:
            print(f"{name}: missed a bound, or failed: exit status {done.returncode}")
            worst = 1
    return worst


if __name__ == "__main__":
    sys.exit(main())
