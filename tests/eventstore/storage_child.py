"""A process that appends until it is killed: `python -m tests.eventstore.storage_child DIR COUNT`.

Prints "open", then "acked SEQ" as each record is acknowledged, one proposal at a time after the
other if COUNT is positive, all of them pipelined if it is negative.
"""

from __future__ import annotations

import sys
from pathlib import Path

from eventstore.replica import Committed, Outcome
from tests.eventstore.storage_lab import Lab, batch


def main() -> None:
    lab = Lab(Path(sys.argv[1]))
    count = int(sys.argv[2])
    replica = lab.open()
    print("open", flush=True)
    answered: list[Outcome] = []

    def acked(outcome: Outcome) -> None:
        answered.append(outcome)
        if isinstance(outcome, Committed):
            print("acked", outcome.records[-1].record.seq, flush=True)
        else:
            print(outcome, flush=True)

    for n in range(abs(count)):
        replica.propose(batch("a", "b", key=f"k{n}", what=n), acked)
        if count > 0:
            lab.run_until(lambda n=n: len(answered) > n)  # type: ignore[misc]  # a default
    lab.run_until(lambda: len(answered) == abs(count))
    replica.close()


if __name__ == "__main__":
    main()
