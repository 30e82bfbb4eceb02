"""One append after the other: on three voters beside one, in turn, over TCP with CURVE.

    python -m tests.bench.lone [--seconds S] [--rounds N]

Twice: with the syncs of this disk, which three voters on one machine share, so that it is only
stated; and with SLOW_S added to each sync, as if each voter had a disk of its own that is slower
than its CPU. There three voters may take twice as long as one, and a round trip.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from eventstore.access.keys import CurveKeys
from eventstore.clients.client import Client, Voter
from tests.bench.bench_voter import voters
from tests.bench.etcd import LOADS, MEMBERS, Side, ask_us
from tests.bench.figures import Figure, show

SLOW_S = 0.004
_VALUE_BYTES = 256
_TRIPS = 200


def main() -> bool:
    """Measure and print; say whether the bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    good = True
    for title, delay_s, bound in (
        ("this disk, shared by all voters", 0.0, False),
        (f"each sync {1e3 * SLOW_S:g} ms longer", SLOW_S, True),
    ):
        with tempfile.TemporaryDirectory(prefix="cairn-lone-") as place:
            figures = measure(Path(place), delay_s, options.rounds, options.seconds, bound=bound)
        good = show(title, figures) and good
    return good


def measure(
    place: Path, delay_s: float, rounds: int, seconds: float, *, bound: bool
) -> list[Figure]:
    """Ask both in turn; return what was seen."""
    load, value = LOADS[0], os.urandom(_VALUE_BYTES)
    with ExitStack() as stack:
        sides = []
        for name, members in (("3 voters", MEMBERS), ("1 voter", MEMBERS[:1])):
            found, keys, pids = stack.enter_context(
                voters(place / str(len(members)), *members, sync_delay_s=delay_s)
            )
            sides.append(Side(name, pids, partial(ask_us, found, keys, value)))
        for side in sides:
            side.ask(load, 1.0)  # warms up
        for _ in range(rounds):
            for side in sides:
                side.round(load, seconds)
        trip_ms = round_trip_ms(found, keys)
    three, one = (side.median(load) for side in sides)
    most = 2 * one.p50_ms + trip_ms if bound else None
    return [
        Figure("a round trip, p50", trip_ms, "ms"),
        Figure("an append on 1 voter, p50", one.p50_ms, "ms"),
        Figure("  p99", one.p99_ms, "ms"),
        Figure("  CPU", one.cpu_us, "us"),
        Figure("an append on 3 voters, p50", three.p50_ms, "ms", most),
        Figure("  p99", three.p99_ms, "ms"),
        Figure("  CPU of all three", three.cpu_us, "us"),
        Figure("3 voters by 1, p50", three.p50_ms / one.p50_ms),
    ]


def round_trip_ms(found: Sequence[Voter], keys: CurveKeys) -> float:
    """Return the median time of a request that needs no disk."""
    client, times = Client(found, keys), []
    for _ in range(_TRIPS):
        began = time.perf_counter()
        client.call("leads")
        times.append(time.perf_counter() - began)
    client.close()
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    sys.exit(not main())
