"""All that a voter serves, wired to its replica in the order that is safe (edge).

The keyring first, as of what is committed; then the ZAP handler; then its self-test, with a key
drawn for it; and only then the sockets that others may reach. The self-test turns the reactor for
some milliseconds: what else hears of commits should replay and register within one turn, as always.
"""

from __future__ import annotations

import resource

from eventstore.access.keyring import Keyring
from eventstore.access.keys import CurveKeys
from eventstore.events import STREAM, KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.replica import Replica
from eventstore.serving import log_service
from eventstore.serving.log_service import LogService
from eventstore.serving.publisher import Publisher
from eventstore.serving.server import RequestServer
from eventstore.storage.stream_reader import Index, IndexedStreams
from eventstore.wire.zap import ZapHandler

_KEY_KINDS = (KeyAdmitted.KIND, KeyRevoked.KIND)
_SELF_TEST_DOMAIN = "cairn.self-test"


class VoterSockets:
    """The request server (with `head` and `range`) and the publisher of one voter.

    Further kinds of requests are registered on `server`. Raises InsecureServer if this build of
    ZeroMQ does not turn away a key that nobody admitted.
    """

    def __init__(
        self,
        reactor: Reactor,
        replica: Replica,
        index: Index,
        *,
        name: str,
        keys: CurveKeys,
        requests_endpoint: str,
        publish_endpoint: str,
    ) -> None:
        _allow_many_connections()
        self.streams = IndexedStreams(replica, index)
        found = self.streams.of_kinds(STREAM, _KEY_KINDS)
        self.keyring = Keyring(stored.record for stored in found)
        replica.on_committed(self.keyring.apply)
        self.zap = zap = ZapHandler(reactor)
        zap.serve(_SELF_TEST_DOMAIN, lambda key: self.keyring.get(key) is not None)
        zap.self_test(_SELF_TEST_DOMAIN)
        self.server = RequestServer(
            reactor,
            requests_endpoint,
            keys=keys,
            keyring=self.keyring,
            zap=zap,
            stamp=lambda: log_service.stamp_of(replica),
        )
        LogService(replica, self.streams, voter=name).register(self.server)
        self.publisher = Publisher(
            reactor,
            publish_endpoint,
            keys=keys,
            keyring=self.keyring,
            zap=zap,
            replica=replica,
            voter=name,
        )


def _allow_many_connections() -> None:
    """Raise the number of open files to what the system allows: each connection is one.

    The usual 1,024 end a voter at some five hundred agents, each with two connections.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
