"""`cairn-master`: one voter's daemon (edge).

    cairn-master --dir DIRECTORY

Ends cleanly on SIGTERM and SIGINT; a leader hands over first. Exit statuses: 0 ended by a signal; 1
it cannot start, and says why and what would help; 74 the storage failed (it leaves at once, and
writes nothing more).
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from commands.errors import CommandError
from commands.master import config as master_config
from commands.master.daemon import MasterDaemon
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor
from projections.errors import ProjectionError

PID_FILE = "master.pid"
_log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until a signal ends it; return the exit status."""
    parser = argparse.ArgumentParser(prog="cairn-master", description="Cairn's master daemon")
    parser.add_argument("--dir", type=Path, required=True, help="the directory of this voter")
    directory: Path = parser.parse_args(arguments).dir
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    reactor = Reactor()
    try:
        daemon = MasterDaemon(reactor, directory, master_config.load(directory))
    except (EventStoreError, ProjectionError, CommandError) as error:
        reactor.close()
        print(f"cairn-master: {error}", file=sys.stderr)
        if hint := getattr(error, "hint", ""):
            print(f"  {hint}", file=sys.stderr)
        return 1
    for signum in (signal.SIGTERM, signal.SIGINT):
        reactor.on_signal(signum, daemon.end)
    # What was loaded stays for as long as the daemon lives. The collector would walk all of it, a
    # stall of tens of milliseconds at 10,000 instances, and find nothing.
    gc.collect()
    gc.freeze()
    (directory / PID_FILE).write_text(f"{os.getpid()}\n")
    _log.info("serving")
    try:
        reactor.run()
    finally:
        reactor.close()
        (directory / PID_FILE).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
