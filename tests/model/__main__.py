"""`make model`: every scenario of docs/model/scenarios.txt, whole, with and without each rule.

    python -m tests.model [SCENARIO...]

The exit status is 1 if an assertion can be violated, or if a rule is not needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.model.checking import Scenario, missing_tools, scenarios, search


def main() -> int:
    """Print a line for each search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="by default all")
    options = parser.parse_args()
    if missing := missing_tools():
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    good = True
    for scenario in scenarios():
        if not options.scenarios or scenario.name in options.scenarios:
            for line, fine in checked(scenario):
                print(f"{'' if fine else 'WRONG  '}{line}", flush=True)
                good = good and fine
    return 0 if good else 1


def checked(scenario: Scenario) -> Iterator[tuple[str, bool]]:
    """Search a scenario with and without each rule; yield what was seen and whether it is right."""
    for rule in ("", *scenario.rules):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            found = search(scenario.bounds, Path(directory), without=rule)
        took_s = time.monotonic() - began
        fine = bool(found.violated) if rule else found.complete
        saw = "a counterexample" if found.violated else "no violation"
        what = f"without {rule}" if rule else "all rules"
        yield (
            f"{scenario.name:14} {what:24} {saw:16} {found.states:>10,} states {took_s:6.1f} s",
            fine,
        )


if __name__ == "__main__":
    raise SystemExit(main())
