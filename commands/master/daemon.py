"""The master daemon of one voter: the log, the projections, the engine, the sockets (edge).

One thread, one loop. What a committed batch does, in this order:

1. projections: the batch is folded, jobs that ended are noted;
2. the engine, if this voter leads: what the new state calls for is proposed;
3. those who wait for a job are told;
4. keys: who may connect from now on; then the publisher (eventstore/voter/sockets.py);
5. whoever proposed the batch hears that it is committed.

At start: the log is opened and checked, the projections come from the nearest snapshot and the
records after it, then the sockets open, and when this reign's first record is committed there is
an engine, which goes on with every open job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from commands.engine.draws import RandomDraws, SeededDraws
from commands.engine.engine import Engine
from commands.master.agents import AgentDesk
from commands.master.bootstrap import LOG_DIRECTORY, SIGN_KEY, VOTER_KEY
from commands.master.config import MasterConfig, replication_endpoint, segments_endpoint
from commands.master.council import Council
from commands.master.history import EndedJobs, History
from commands.master.jobs_desk import JobsDesk
from commands.master.past import Past
from commands.master.reads_desk import ReadsDesk
from commands.master.reign import Reign
from commands.master.telemetry import Telemetry
from commands.master.voters_desk import VotersDesk, voters_of
from commands.registry import Registry
from eventstore.access.keyring import Keyring
from eventstore.access.keys import load_curve_keys, load_sign_keys
from eventstore.events import VoterPlaced
from eventstore.raft.generations import TrustTakeover
from eventstore.raft.state import LAN, Timing
from eventstore.reactor import Reactor
from eventstore.record import Record, Stored
from eventstore.replica import Leadership
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.layout import Layout
from eventstore.storage.log_view import LogView
from eventstore.storage.snapshots import SnapshotStore
from eventstore.voter.links import VoterLinks
from eventstore.voter.opening import open_quorum
from eventstore.voter.quorum import QuorumVoter
from eventstore.voter.sockets import VoterSockets
from eventstore.voter.takeover import trusted
from projections.past import resume, snapshot_due, snapshot_of
from projections.state import FOLD, VERSION, State
from projections.tables import INDEX_TABLES

_TICK_S = 0.5
_LEAD_S = 10.0
_HAND_OVER_S = 3.0
_log = logging.getLogger(__name__)


class MasterDaemon:
    """Wires one voter together. `Reactor.run` makes it go; `close` ends it."""

    def __init__(self, reactor: Reactor, directory: Path, config: MasterConfig) -> None:
        """Open the log and the sockets.

        Raises LogInUse, NotOurLog, CorruptLog, DiskFull, StorageFailed, BadKeyFile, CannotListen,
        UnknownKind or CorruptHistory; then nothing serves.
        """
        log = directory / LOG_DIRECTORY
        self._config, self._reactor = config, reactor
        self._ending = False  # it hands over before it ends
        self._keyring = Keyring()  # that of the sockets, once they are open
        self._replica = _open(reactor, log, directory, config, self._trusts)
        view = LogView(log)
        self._index = IndexReader(Layout(log).index)
        history = History(view, self._replica)
        self._snapshots = SnapshotStore(
            Layout(log).snapshots,
            fold=FOLD,
            version=VERSION,
            report=lambda path, why: _log.warning("snapshot %s is not used: %s", path, why),
        )
        self._projector = resume(history, self._snapshots)
        self._snapshot_seq = max(self._snapshots.seqs(), default=0)
        self._telemetry = Telemetry(lost_after_s=config.lost_after_s, now_s=reactor.now())
        self._draws = SeededDraws(config.draw_seed) if config.draw_seed else RandomDraws()
        self._registry = Registry()
        self._ended = EndedJobs(history)
        self._reign = Reign(
            reactor,
            self._replica,
            make_engine=self._make_engine,
            stands_back=lambda: self._replica.config.stands_back(config.voter),
        )
        self._jobs = JobsDesk(
            reactor,
            self._reign,
            self._ended,
            state=self._state,
            seen=lambda: self._telemetry.seen,
        )
        self._replica.on_committed(self._on_committed)
        self._replica.on_leadership(self._on_leadership)
        past = Past(reactor, log, self._replica, self._snapshots, self._state)
        reactor.on_close(past.close)
        self._agents = self._serve(reactor, directory, past)
        self._stop_ticking = reactor.call_every(_TICK_S, self._tick)
        reactor.on_close(self._close)
        reactor.on_close(view.close)
        reactor.on_close(self._index.close)
        if self._replica.config.alone(self._config.voter):  # it leads before it is said to serve
            reactor.run_until(lambda: self._replica.leadership.ready, timeout_s=_LEAD_S)

    def end(self) -> None:
        """End soon; a leader with others first hands over, so that nobody waits for an election."""
        if self._ending or not self._replica.leadership.here or self._replica.hand_over():
            self._reactor.stop()
            return
        self._ending = True
        self._replica.on_leadership(self._handed_over)
        self._reactor.call_later(_HAND_OVER_S, self._reactor.stop)

    def _handed_over(self, leadership: Leadership) -> None:
        if leadership.leader is not None and not leadership.here:
            _log.info("handed over to %s", leadership.leader)
            self._reactor.stop()

    def _state(self) -> State:
        return self._projector.state

    def _trusts(self, takeover: Record) -> bool:
        return trusted(takeover, self._replica.cluster_id, self._keyring)

    def _serve(self, reactor: Reactor, directory: Path, past: Past) -> AgentDesk:
        """Open the sockets. This turns the reactor: what hears of commits is registered already."""
        keys = load_curve_keys(directory / VOTER_KEY)
        sockets = VoterSockets(
            reactor,
            self._replica,
            self._index,
            name=self._config.voter,
            keys=keys,
            requests_endpoint=self._config.requests,
            publish_endpoint=self._config.publications,
        )
        self._keyring = sockets.keyring
        links = VoterLinks(
            reactor,
            replication_endpoint(self._config),
            keys=keys,
            zap=sockets.zap,
            places=self._replica.places,
            on_message=self._replica.receive,
        )
        bulk = VoterLinks(
            reactor,
            segments_endpoint(self._config),
            keys=keys,
            zap=sockets.zap,
            places=self._replica.places,
            on_message=self._replica.receive,
            address_of=lambda place: place.segments or place.replication,
            domain="cairn.segments",
        )
        own = VoterPlaced(
            name=self._config.voter,
            inc=self._replica.core.voter.me.inc.hex(),
            curve_key=keys.public,
            requests=self._config.requests,
            publications=self._config.publications,
            replication=links.endpoint,
            segments=bulk.endpoint,
        )
        agents = AgentDesk(
            replica=self._replica,
            reign=self._reign,
            telemetry=self._telemetry,
            state=self._state,
            voters=lambda: voters_of(self._replica, own),
            keys=lambda: self._keyring.keys,
        )
        reads = ReadsDesk(
            past,
            self._ended,
            state=self._state,
            digest=self._projector.digest,
            seen=lambda: self._telemetry.seen,
        )
        voters = VotersDesk(
            self._replica, own, state=self._state, heard=lambda: len(self._telemetry.seen)
        )
        for desk in (agents, reads, self._jobs, voters):
            desk.register(sockets.server)
        self._council = Council(self._replica, self._reign, self._config, own, state=self._state)
        self._replica.start(links.send, bulk.send)
        return agents

    def _make_engine(self) -> Engine:
        self._telemetry.reign_began()
        state = self._state()
        return Engine(
            cluster_id=self._replica.cluster_id,
            state=state,
            registry=self._registry,
            draws=self._draws,
            look=self._telemetry.look,
            boot_s=Reactor.now,
            log_ms=state.unix_ms,
            history=self._ended,
            max_running=self._config.max_running_jobs,
        )

    def _on_committed(self, batch: Sequence[Stored]) -> None:
        self._ended.ended(self._projector.apply(batch))
        records = [stored.record for stored in batch]
        self._reign.on_committed(self._state(), records)
        self._jobs.on_committed(records)
        self._snapshot_if_due()

    def _on_leadership(self, leadership: Leadership) -> None:
        self._reign.on_leadership(leadership)

    def _snapshot_if_due(self) -> None:
        seq = self._projector.seq
        if snapshot_due(self._snapshot_seq, seq):
            self._snapshot_seq = seq
            digest = self._projector.digest()
            state = self._projector.state
            self._snapshots.save_soon(lambda: snapshot_of(state, digest))

    def _tick(self) -> None:
        self._replica.tick(Reactor.now())
        if self._reign.leads:
            self._agents.tick()
            self._council.tick()

    def _close(self) -> None:
        self._stop_ticking()
        self._replica.close()
        self._snapshots.close()


def _open(
    reactor: Reactor, log: Path, directory: Path, config: MasterConfig, trusts: TrustTakeover
) -> QuorumVoter:
    return open_quorum(
        log,
        voter=config.voter,
        post=reactor.call_soon_threadsafe,
        call_at=reactor.call_at,
        cluster_id=config.cluster_id or None,
        tables=INDEX_TABLES,
        sync_delay_s=config.sync_delay_s,
        ballast_bytes=config.ballast_mib << 20,
        sign_seed=load_sign_keys(directory / SIGN_KEY).seed,
        timing=LAN if config.timing == "lan" else Timing(),
        seeds=[
            VoterPlaced(
                name=seed.name,
                inc="",
                curve_key=seed.curve_key,
                requests=seed.requests,
                publications=seed.publications,
                replication=seed.replication,
            )
            for seed in config.seeds
        ],
        trusts=trusts,
    )
