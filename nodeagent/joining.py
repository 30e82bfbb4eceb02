"""How an agent becomes a member: it waits for a ticket, then shows its key (edge).

The ticket's key is admitted for `join` only, once. If the agent dies between the cluster's yes and
writing it down, the ticket's key is refused at the next try; then the agent asks with its own key,
which the yes has admitted, and takes what it needs to know from the ticket.

A ticket may be there before its invitation is in the log (it is laid down first, and a log on a
slow disk takes its time), or a voter may lag; so one that is refused is tried for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import Answer, AsyncClient
from eventstore.errors import AccessDenied, EventStoreError
from eventstore.reactor import Reactor
from nodeagent.calls import Join, Joined, Ticket
from nodeagent.identity import AgentDirectory, BadFile, Identity, addresses
from nodeagent.own_address import own_address

_LOOK_S = 0.2
_AGAIN_S = 2.0
_TIMEOUT_S = 10.0
_REFUSED_AGAIN_S = 0.5
_REFUSED_FOR_S = 60.0  # as long as `gnt-node add` waits for the node
_log = logging.getLogger(__name__)


class Joining:
    """Waits and joins; `on_joined` hears once, with the identity already written down."""

    def __init__(
        self,
        reactor: Reactor,
        directory: AgentDirectory,
        keys: CurveKeys,
        name: str,
        on_joined: Callable[[Identity], None],
    ) -> None:
        self._reactor, self._directory, self._keys = reactor, directory, keys
        self._name = name
        self._on_joined = on_joined
        self._client: AsyncClient | None = None
        self._refused: tuple[str, float] = ("", 0.0)  # a ticket's key, and since when it is refused
        _log.info("waiting for a ticket in %s; my key is %s", directory.path, keys.public)
        self._look()

    def _look(self) -> None:
        try:
            ticket = self._directory.ticket()
        except BadFile as bad:
            _log.error("%s", bad)
            self._directory.drop_ticket("bad")
            ticket = None
        if ticket is None:
            self._reactor.call_later(_LOOK_S, self._look)
        else:
            self._join(ticket)

    def _join(self, ticket: Ticket) -> None:
        own = CurveKeys(ticket.public_key, ticket.secret_key)
        address = own_address(voter.requests for voter in ticket.voters)
        body = Join(name=self._name, curve_key=self._keys.public, address=address)
        self._ask(
            ticket, own, "join", body, lambda answer: self._joined(ticket, answer.decode(Joined))
        )

    def _ask(
        self,
        ticket: Ticket,
        keys: CurveKeys,
        kind: str,
        body: Join | None,
        on_answer: Callable[[Answer], None],
    ) -> None:
        self._close()
        self._client = AsyncClient(self._reactor, addresses(ticket.voters), keys)
        self._client.call(
            kind,
            body,
            key=f"join/{ticket.node}/{self._keys.public}",
            timeout_s=_TIMEOUT_S,
            on_answer=on_answer,
            on_error=lambda error: self._failed(ticket, kind, error),
        )

    def _failed(self, ticket: Ticket, kind: str, error: EventStoreError) -> None:
        if kind == "join" and isinstance(error, AccessDenied):
            # Used already? Then our own key is admitted, and the ticket says the rest.
            known = Joined(node=ticket.node, cluster_id=ticket.cluster_id, voters=ticket.voters)
            self._ask(ticket, self._keys, "head", None, lambda _: self._joined(ticket, known))
            return
        self._close()
        if isinstance(error, AccessDenied) and not self._long_refused(ticket):
            self._reactor.call_later(_REFUSED_AGAIN_S, self._look)
            return
        _log.warning("cannot join: %s (%s)", error, error.hint)
        if isinstance(error, AccessDenied):
            self._directory.drop_ticket("refused")
        self._reactor.call_later(_AGAIN_S, self._look)

    def _long_refused(self, ticket: Ticket) -> bool:
        """Say whether this ticket has been refused for so long that it will not be admitted."""
        now = self._reactor.now()
        key, since = self._refused
        if key != ticket.public_key:
            _log.info("the ticket is not admitted yet; trying for %g s", _REFUSED_FOR_S)
            self._refused = (ticket.public_key, now)
            return False
        return now - since >= _REFUSED_FOR_S

    def _joined(self, ticket: Ticket, joined: Joined) -> None:
        self._close()
        identity = Identity(
            node=joined.node,
            name=self._name,
            cluster_id=joined.cluster_id,
            voters=joined.voters or ticket.voters,
        )
        self._directory.save_identity(identity)
        self._directory.drop_ticket()
        _log.info("joined cluster %s as node %s", identity.cluster_id, identity.node)
        self._on_joined(identity)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
