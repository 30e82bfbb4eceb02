"""Check a run: its clients' notes against its voters' logs.

    python -m tests.history --notes FILE... --logs DIRECTORY... [--prefix KEY]

A directory is that of a voter's log (`.../master/log`); its daemon may run. Up to where a log is
committed is what its index holds, since only what is committed is indexed. The exit status is 1 if
a promise was broken.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eventstore.storage.log_view import LogView
from tests.history.checker import Broken, VoterLog, check
from tests.history.notes import read_notes


def main() -> int:
    """Print what was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", nargs="+", type=Path, required=True)
    parser.add_argument("--logs", nargs="+", type=Path, required=True)
    parser.add_argument("--prefix", default="", help="of the clients' idempotency keys")
    options = parser.parse_args()
    broken = check_files(options.notes, options.logs, prefix=options.prefix)
    for promise, how in broken:
        print(f"({promise}) {how}")
    print(f"{len(broken)} promises broken" if broken else "every promise was kept")
    return 1 if broken else 0


def check_files(notes: Sequence[Path], logs: Sequence[Path], *, prefix: str = "") -> list[Broken]:
    """Return every promise that these files show to be broken."""
    found = [read_log(directory) for directory in logs]
    with LogView(logs[0]) as view:
        cluster_id = view.cluster_id
    noted = [note for path in notes for note in read_notes(path)]
    return check(cluster_id, noted, found, prefix=prefix)


def read_log(directory: Path) -> VoterLog:
    """Return a voter's log as it is on the disk."""
    with LogView(directory) as view:
        committed = view.indexed  # before the log is read: it only grows
        return VoterLog(str(directory), list(view.iterate(1)), committed)


if __name__ == "__main__":
    raise SystemExit(main())
