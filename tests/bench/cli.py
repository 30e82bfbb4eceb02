"""How long a command takes, as a person waits for it: the whole process, from start to exit.

    python -m tests.bench.cli [--instances N] [--rounds N]

Beside each command an interpreter runs that does next to nothing, in turn with it, so that both
meet the same machine. The cluster's instances are facts that are appended to its log while the
master daemon is down; no node has anything of them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome
from projections.events.configuration import InstanceCreated
from tests.bench.cluster import Cluster, running_cluster
from tests.bench.figures import Figure, show
from tests.bench.lone_voter import lone_voter
from tests.projections.stories import mirrored
from tools.lab import daemons, running
from tools.lab.layout import MASTER

ALLOWANCE_S = 0.100
_BATCH = 100
_EMPTY = (sys.executable, "-c", "")
_IMPORTS = (sys.executable, "-c", "import zmq, msgspec")


def main(arguments: Sequence[str] | None = None) -> bool:
    """Measure and print; say whether all is within its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args(arguments)
    with running_cluster(2) as cluster:
        fill(cluster, options.instances)
        listing = (daemons.script("gnt-instance"), "list", "--no-headers")
        shown = _run(listing, cluster.environment()).splitlines()
        assert len(shown) == options.instances, len(shown)
        taken = medians(
            {
                "list": listing,
                "help": (daemons.script("gnt-instance"), "--help"),
                "list --help": (daemons.script("gnt-instance"), "list", "--help"),
                "imports": _IMPORTS,
                "empty": _EMPTY,
            },
            cluster.environment(),
            options.rounds,
        )
    quick = (taken["empty"] + ALLOWANCE_S) * 1e3
    return show(
        f"commands, medians of {options.rounds} runs in turn, wall time",
        [
            Figure("python3 -c ''", taken["empty"] * 1e3, "ms"),
            Figure("gnt-instance --help", taken["help"] * 1e3, "ms", quick),
            Figure("gnt-instance list --help", taken["list --help"] * 1e3, "ms", quick),
            Figure("python3 -c 'import zmq, msgspec'", taken["imports"] * 1e3, "ms"),
            Figure(
                f"gnt-instance list, {options.instances} instances",
                taken["list"] * 1e3,
                "ms",
                (2 * taken["imports"] + ALLOWANCE_S) * 1e3,
            ),
        ],
    )


def fill(cluster: Cluster, instances: int) -> None:
    """Put instances into the cluster's log while its master is down."""
    rows = cluster.gnt("gnt-node", "list", "--no-headers", "-o", "uuid").split()
    daemons.end(cluster.pid(MASTER))
    made = [mirrored(f"web{number}.example.net", *rows) for number in range(instances)]
    drafts = [
        Draft(
            stream=f"instance/{each.uuid}",
            event=InstanceCreated(instance=each),
            actor="operator:bench",
        )
        for each in made
    ]
    outcomes: list[Outcome] = []
    batches = range(0, instances, _BATCH)
    directory, voter = cluster.layout.master / "log", cluster.layout.load().nodes[0]
    with lone_voter(directory, voter) as (log, reactor):
        for first in batches:
            log.propose(Batch(drafts=tuple(drafts[first : first + _BATCH])), outcomes.append)
        reactor.run_until(lambda: len(outcomes) == len(batches))
    assert all(isinstance(outcome, Committed) for outcome in outcomes), outcomes
    running.start(cluster.layout, MASTER)


def medians(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], rounds: int
) -> dict[str, float]:
    """Return the median wall time of each command in seconds; they run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            begun = time.perf_counter()
            _run(command, environment)
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(not main())
