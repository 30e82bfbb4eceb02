"""A voter over a log in memory, as a process: prints where it listens, answers `who`, never ends.

python -m tests.eventstore.wire_child NAME ADMITTED_CURVE_KEY
"""

from __future__ import annotations

import sys

import msgspec

from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.zap import ZapHandler
from tests.eventstore.wire_voter import WireVoter


def main() -> None:
    """Serve until killed."""
    name, admitted = sys.argv[1:]
    reactor = Reactor()
    voter = WireVoter(reactor, ZapHandler(reactor), name)
    voter.replica.append_event(
        STREAM, KeyAdmitted(name="operator:a", role="operator", curve_key=admitted)
    )
    voter.server.register("who", ("operator",), lambda _asked, reply: reply.done(name))
    voter.server.register("hang", ("operator",), lambda _asked, _reply: None)
    print(msgspec.json.encode(voter.voter).decode(), flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
