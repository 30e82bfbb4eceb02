"""What is asked about the voters themselves: where they are, how they are, who is to lead (edge).

Every voter answers `voters` and `voter-status` from what it knows; `hand-over` and `confirm` are
the leader's. `confirm` is the only proof that a voter leads *now*: a majority answered it after it
was asked (R11). All else may be a moment old.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from commands import api
from commands.errors import WRONG_STATE
from commands.master.answers import not_leader
from commands.master.metrics import families
from eventstore.events import VoterPlaced
from eventstore.raft.state import DiskState, Role
from eventstore.replica import Leadership
from eventstore.serving.server import ReplyTo, Request, RequestServer
from eventstore.voter.quorum import QuorumVoter
from eventstore.wire.faults import RemoteError
from nodeagent.calls import Voter
from projections.state import State

READERS = ("operator", "gateway", "auditor", "node")
ORDERS = ("operator",)
_log = logging.getLogger(__name__)


def voters_of(replica: QuorumVoter, own: VoterPlaced) -> tuple[Voter, ...]:
    """Return where clients and agents find the members of this cluster's log, voters first.

    `own` is where this voter is, which the log need not say yet.
    """
    config = replica.config
    places = {own.name: own, **replica.places.all}
    placed = (places.get(name) for name in (*sorted(config.voters), *sorted(config.learners)))
    return tuple(
        Voter(
            name=place.name,
            requests=place.requests,
            publications=place.publications,
            curve_key=place.curve_key,
            replication=place.replication,
        )
        for place in placed
        if place is not None
    )


def status_of(replica: QuorumVoter, name: str) -> api.VoterStatus:
    """Return how this voter is, and, if it leads, what it knows of its peers."""
    core = replica.core
    voter, leading, config = core.voter, core.leading, replica.config
    peers = leading.progress.values() if leading else ()
    now_ms = voter.now_ms
    return api.VoterStatus(
        name=name,
        role=_role(replica, name),
        gen=voter.epoch.gen,
        term=voter.epoch.term,
        leader=voter.leader or "",
        last_seq=voter.log.last.seq,
        durable=voter.log.durable,
        committed=replica.committed,
        disk=voter.disk.name.lower(),
        last_fsync_ms=replica.metrics.last_fsync_ms,
        worst_fsync_ms=replica.metrics.worst_fsync_ms,
        voters=tuple(sorted(config.voters)),
        learners=tuple(sorted(config.learners)),
        witnesses=tuple(sorted(config.witnesses)),
        alarms=tuple(f"{alarm.code}: {alarm.message}" for alarm in replica.alarms),
        peers=tuple(
            api.PeerStatus(
                name=peer.name,
                match=peer.match,
                heard_ms=now_ms - peer.heard_ms,
                disk=DiskState(peer.disk).name.lower(),
                last_fsync_ms=peer.fsync_ms,
            )
            for peer in peers
        ),
    )


def _role(replica: QuorumVoter, name: str) -> str:
    if replica.core.voter.recovery:
        return "recovering"
    if replica.core.voter.superseded:
        return "superseded"
    config = replica.config
    if replica.core.role is Role.FOLLOWER and name not in config.voters:
        return "learner" if name in config.learners else "joining"
    if replica.core.role is Role.FOLLOWER and name in config.witnesses:
        return "witness"
    return replica.core.role.value


class VotersDesk:
    """Answers about the voters."""

    def __init__(
        self,
        replica: QuorumVoter,
        own: VoterPlaced,
        *,
        state: Callable[[], State],
        heard: Callable[[], int],
    ) -> None:
        """`heard`: of how many nodes this voter has a status."""
        self._replica, self._own, self._name = replica, own, own.name
        self._state, self._heard = state, heard
        self._handing: list[Callable[[Leadership], bool]] = []
        replica.on_leadership(self._on_leadership)

    def register(self, server: RequestServer) -> None:
        """Serve the kinds about voters."""
        server.register("voters", READERS, self._voters)
        server.register("voter-status", READERS, self._status)
        server.register("metrics", READERS, self._metrics)
        server.register("confirm", READERS, self._confirm)
        server.register("hand-over", ORDERS, self._hand_over)

    def _voters(self, _request: Request, reply: ReplyTo) -> None:
        leader = self._replica.leadership.leader or ""
        reply.done(api.VotersReply(voters=voters_of(self._replica, self._own), leader=leader))

    def _status(self, _request: Request, reply: ReplyTo) -> None:
        reply.done(status_of(self._replica, self._name))

    def _metrics(self, _request: Request, reply: ReplyTo) -> None:
        status = status_of(self._replica, self._name)
        found = families(status, self._replica.metrics, self._state(), heard=self._heard())
        reply.done(api.MetricsReply(families=found))

    def _confirm(self, _request: Request, reply: ReplyTo) -> None:
        def confirmed(seq: int | None) -> None:
            if seq is None:
                reply.fail(not_leader(self._replica.leadership))
            else:
                reply.done(api.Confirmed(leader=self._name, seq=seq))

        self._replica.confirm(confirmed)

    def _hand_over(self, request: Request, reply: ReplyTo) -> None:
        """Answer when another voter leads; the order is not in the log, the new epoch will be."""
        wanted = request.decode(api.HandOver)
        if not self._replica.leadership.here:
            raise not_leader(self._replica.leadership)
        if wanted.to == self._name:
            reply.done(api.HandedOver(leader=self._name))
            return
        if wanted.to and self._silent(wanted.to):
            raise RemoteError(
                WRONG_STATE,
                f"{wanted.to} does not answer its leader",
                hint="gnt-log status shows the voters; without a name the nearest one takes over",
            )
        if refused := self._replica.hand_over(wanted.to or None):
            raise RemoteError(WRONG_STATE, refused.message, hint=refused.hint)
        _log.warning("%s asks to hand over to %s", request.actor, wanted.to or "the best voter")

        def changed(leadership: Leadership) -> bool:
            leader = leadership.leader
            if leader is None or leader == self._name:
                return False
            reply.done(api.HandedOver(leader=leader))
            return True

        self._handing.append(changed)

    def _silent(self, name: str) -> bool:
        """Say whether a peer has not answered this leader for as long as it may take to elect.

        It would not hear that it is to lead, and nothing would be proposed until that is given up.
        """
        core = self._replica.core
        peer = core.leading.progress.get(name) if core.leading else None
        return (
            peer is not None
            and core.voter.now_ms - peer.heard_ms > core.voter.timing.election_min_ms
        )

    def _on_leadership(self, leadership: Leadership) -> None:
        self._handing = [waits for waits in self._handing if not waits(leadership)]
