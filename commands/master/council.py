"""The leader's care for who votes, and for what is known of the leader itself (edge).

A few times a second, on the leader: this voter's place is recorded if the log does not have it as
it is, `cluster.master-changed` is recorded after a change of leader, the master's address is moved
(cluster_ops/master_address.py), and the membership takes its next step (membership.py). Changes of
the configuration are proposed as they are; what agents must do is a job like any other, so that it
is seen in the list, retried and undone like any other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from commands import api
from commands.cluster_ops import master_address
from commands.cluster_ops.activate_master_ip import ClusterActivateMasterIp
from commands.cluster_ops.deactivate_master_ip import ClusterDeactivateMasterIp
from commands.errors import Refused as OpRefused
from commands.master import membership
from commands.master.config import MasterConfig
from commands.master.membership import Change, Make, Seen, Step, Unmake
from commands.master.reign import Reign
from commands.node_ops.ensure_voter import NodeEnsureVoter
from commands.node_ops.remove_voter import NodeRemoveVoter
from commands.nodes import why_unreachable
from commands.opcode import Opcode, pack
from eventstore.events import STREAM, KeyRevoked, VoterPlaced
from eventstore.raft.membership import Config, event_of
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Epoch, Event
from eventstore.replica import Committed, Outcome
from eventstore.voter.quorum import QuorumVoter
from projections.events.configuration import MasterChanged
from projections.state import State

ACTOR = "policy:voters"
_AGAIN_S = 30.0  # before a job that did not help is submitted once more
_log = logging.getLogger(__name__)


class Council:
    """Keeps the membership as it should be. `place` is where this voter really is."""

    def __init__(
        self,
        replica: QuorumVoter,
        reign: Reign,
        config: MasterConfig,
        place: VoterPlaced,
        *,
        state: Callable[[], State],
    ) -> None:
        self._replica, self._reign, self._config = replica, reign, config
        self._place, self._state = place, state
        self._busy = False  # a proposal of ours is under way
        self._tried_s: dict[str, float] = {}  # when such a job was submitted last, in this reign
        self._began: tuple[Epoch, float] | None = None  # the reign, and since when it is known

    def tick(self) -> None:
        """Take the next step, if there is one. Call it on the leader."""
        if self._busy or not self._reign.leads or self._state().cluster.settings.destroyed:
            return
        epoch = self._replica.leadership.epoch
        if self._began is None or self._began[0] != epoch:
            self._began = epoch, Reactor.now()
            self._tried_s.clear()
        many, known = self._config.max_voters > 1, self._replica.places.get(self._place.name)
        if many and known != self._place:
            self._propose(STREAM, self._place)
        elif (changed := self._master_changed()) is not None:
            self._propose("cluster", changed)
        else:
            self._address(Reactor.now() - self._began[1])
            if many:
                self._members()

    def _master_changed(self) -> MasterChanged | None:
        cluster = self._state().cluster
        own = cluster.names.get(f"node/{self._config.voter}")
        if own is None or cluster.settings.master == own:
            return None
        return MasterChanged(node=own)

    def _address(self, reign_s: float) -> None:
        cluster = self._state().cluster
        for step in master_address.steps(cluster, reign_s=reign_s):
            match step:
                case master_address.Take():
                    wanted = repr(master_address.wanted_address(cluster.settings))
                    self._order(ClusterActivateMasterIp(), wanted)
                case master_address.Drop(held=held):
                    name = cluster.nodes[held.node].name
                    self._order(ClusterDeactivateMasterIp(node_name=name), repr(held))

    def _members(self) -> None:
        voter = self._replica.core.voter
        if voter.config.seq > voter.log.committed:
            return
        seen = Seen(
            me=self._config.voter,
            config=voter.config,
            places=self._replica.places.all,
            cluster=self._state().cluster,
            most=self._config.max_voters,
            level=self._level,
        )
        for step in membership.steps(seen):
            self._take(step)

    def _level(self, change: Config) -> bool:
        """Say whether those who would vote hold the record that made them learners: one that was
        never heard of is not level, however short the log is."""
        core = self._replica.core
        if core.leading is None or core.refuses_change(change) is not None:
            return False
        new = change.voters.keys() - core.voter.config.voters.keys()
        held = (core.leading.progress[name].match for name in new)
        return all(match >= core.voter.config.seq for match in held)

    def _take(self, step: Step) -> None:
        match step:
            case Change(config=config):
                event = event_of(config)
                _log.info("voters %s, learners %s", sorted(event.voters), sorted(event.learners))
                self._propose(STREAM, event)
            case Make(node=node):
                settings = self._settings()
                self._order(NodeEnsureVoter(node_name=node.name, settings=settings))
            case Unmake(place=place, node=node) if node is not None and not why_unreachable(node):
                key = place.curve_key
                self._order(NodeRemoveVoter(node_name=node.name, voter_key=key))
            case Unmake(place=place):
                reason = "it holds the log no more"
                self._propose(STREAM, KeyRevoked(curve_key=place.curve_key, reason=reason))

    def _settings(self) -> dict[str, str | int | float | bool | None]:
        """Return what all voters of a cluster have in common."""
        config = self._config
        return {
            "status_every_s": config.status_every_s,
            "lost_after_s": config.lost_after_s,
            "max_running_jobs": config.max_running_jobs,
            "ballast_mib": config.ballast_mib,
            "max_voters": config.max_voters,
            "timing": config.timing,
            "sync_delay_s": config.sync_delay_s,
        }

    def _propose(self, stream: str, event: Event) -> None:
        if self._busy:
            return

        def done(outcome: Outcome) -> None:
            self._busy = False
            if not isinstance(outcome, Committed):
                _log.info("%s: %s", event.KIND, outcome)

        self._busy = True
        self._replica.propose(Batch(drafts=(Draft(stream=stream, event=event, actor=ACTOR),)), done)

    def _order(self, op: Opcode, about: str = "") -> None:
        """Submit a job, unless one is open or was tried a moment ago for the same reason."""
        now_s, summary = Reactor.now(), op.summary()
        why = f"{summary} {about}"
        if now_s - self._tried_s.get(why, -_AGAIN_S) < _AGAIN_S or self._open(summary):
            return
        self._tried_s[why] = now_s
        submit = api.Submit(jobs=(api.JobSpec(ops=(pack(op),)),))
        ticket = self._reign.ticket(lambda outcome, body: None)
        try:
            effects = self._reign.engine.submit(
                ACTOR, "operator", submit, ticket=ticket, key=os.urandom(16).hex()
            )
        except OpRefused as refused:
            self._reign.forget(ticket)
            _log.warning("%s: %s", summary, refused)
        else:
            self._reign.carry_out(effects)

    def _open(self, summary: str) -> bool:
        jobs = self._state().jobs.open.values()
        return any(op.summary == summary for job in jobs for op in job.ops)
