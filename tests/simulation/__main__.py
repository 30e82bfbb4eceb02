"""Run seeds: `python -m tests.simulation --seeds 0:1000`, `--seed 17 -v`, `--mutants`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulation.kernel import Violation
from tests.simulation.scenario import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 if something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", metavar="A:B", help="run these seeds")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell everything")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return run_seeds(range(asked.seed, asked.seed + 1), verbose=asked.verbose)
    first, _, last = asked.seeds.partition(":")
    return run_seeds(range(int(first), int(last)), verbose=asked.verbose)


def run_seeds(seeds: range, *, verbose: bool) -> int:
    """Run seeds one after the other; print each violation with its seed, and the speed."""
    begun, violations, events = time.perf_counter(), 0, 0
    for seed in seeds:
        run = Run(seed, verbose=verbose)
        if verbose:
            print(run.settings)
        try:
            run.run()
        except (Violation, AssertionError) as error:
            violations += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
        events += run.kernel.events
    took = time.perf_counter() - begun
    rate = len(seeds) / took * 3600
    print(
        f"{len(seeds)} seeds, {violations} violations, {events} events"
        f" in {took:.1f} s: {rate:.0f} seeds/h"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
