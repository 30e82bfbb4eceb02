"""Run seeds: `python -m tests.simulation --seeds 0:1000`, `--seed 17 -v`, `--mutants`, `--jobs`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

from eventstore.errors import CorruptLog
from tests.simulation.jobs import JobRun
from tests.simulation.kernel import Violation
from tests.simulation.mutants import MUTANTS, keep, planted
from tests.simulation.scenario import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 if something was violated, or a mutant was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", metavar="A:B", help="run these seeds")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell everything")
    parser.add_argument(
        "--mutants", nargs="*", metavar="NAME", help="look for planted bugs, all or these"
    )
    parser.add_argument("--jobs", action="store_true", help="with jobs and the engine (jobs.py)")
    parser.add_argument("--write", action="store_true", help="keep the seeds that find mutants")
    asked = parser.parse_args(arguments)
    first, _, last = asked.seeds.partition(":")
    seeds = range(int(first), int(last))
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    if asked.mutants is not None:
        return find_mutants(asked.mutants or MUTANTS, seeds, write=asked.write)
    return run_seeds(seeds, JobRun if asked.jobs else Run, verbose=asked.verbose)


def run_seeds(seeds: range, kind: type[Run], *, verbose: bool) -> int:
    """Run seeds one after the other; print each violation with its seed, and a core's speed."""
    begun, violations, events = time.process_time(), 0, 0
    for seed in seeds:
        run = kind(seed, verbose=verbose)
        if verbose:
            print(run.settings)
        if flaw := flaw_of(run):
            violations += 1
            print(f"seed {seed}: {flaw}", flush=True)
        events += run.kernel.events
    took = time.process_time() - begun
    rate = len(seeds) / took * 3600
    print(
        f"{len(seeds)} seeds, {violations} violations, {events} events"
        f" in {took:.1f} s: {rate:.0f} seeds/h"
    )
    return 1 if violations else 0


def flaw_of(run: Run) -> str:
    """Run it; return what was violated, "" if nothing was."""
    try:
        run.run()
    except (Violation, AssertionError, CorruptLog) as error:  # the code's own checks count as well
        return f"{type(error).__name__}: {error}"
    return ""


def find_mutants(names: Iterable[str], seeds: range, *, write: bool) -> int:
    """Look for a seed that finds each mutant; print it, or that there is none among `seeds`."""
    missed = 0
    for name in names:
        with planted(name):
            for seed in seeds:
                if flaw := flaw_of(Run(seed)):
                    print(f"{name}: seed {seed}: {flaw}", flush=True)
                    if write:
                        keep({name: seed})
                    break
            else:
                missed += 1
                print(f"{name}: NOT FOUND in {len(seeds)} seeds", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
