"""A voter over a log in memory, as a process: prints where it listens, and never ends.

It answers `who` with its name, `hang` never, and `commit` by committing that many records.

python -m tests.eventstore.wire_child NAME ADMITTED_CURVE_KEY
"""

from __future__ import annotations

import sys

import msgspec

from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.serving.server import ReplyTo, Request
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import WireVoter


def main() -> None:
    """Serve until killed."""
    name, admitted = sys.argv[1:]
    reactor = Reactor()
    voter = WireVoter(reactor, ZapHandler(reactor), name)
    voter.replica.append_event(
        STREAM, KeyAdmitted(name="operator:a", role="operator", curve_key=admitted)
    )

    def commit(asked: Request, reply: ReplyTo) -> None:
        for n in range(asked.decode(int)):
            voter.replica.append(f"job/{n % 3}", f"node/{n % 5}")
        reply.done()

    voter.server.register("who", ("operator",), lambda _asked, reply: reply.done(name))
    voter.server.register("hang", ("operator",), lambda _asked, _reply: None)
    voter.server.register("commit", ("operator",), commit)
    print(msgspec.json.encode(voter.voter).decode(), flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
