"""Calls that come in at the same moment, in an agent that has just started."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from nodeagent.calls import CALLS
from tests.projections.filled import filled

THREADS, ROUNDS = 4, 5
# Reads lines `name version data`, and decodes all of them on each of some threads.
_PROGRAM = f"""
import sys, threading
from eventstore.packed import Packed
from nodeagent.executor import decode_call
sys.setswitchinterval(1e-6)
lines = [line.split() for line in sys.stdin]
packed = [Packed(name, int(version), bytes.fromhex(data)) for name, version, data in lines]
together = threading.Barrier({THREADS})
def decode():
    together.wait()
    for each in packed:
        decode_call(each)
threads = [threading.Thread(target=decode) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_workers_may_meet_a_call_for_the_first_time_together() -> None:
    """Each call, decoded by several threads at once in a process that has decoded none before: it
    goes on."""
    lines = "".join(
        f"{name} {kind.VERSION} {msgspec.msgpack.encode(filled(kind)).hex()}\n"
        for name, kind in sorted(CALLS.items())
    )
    for _ in range(ROUNDS):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=lines, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr or ran.returncode
