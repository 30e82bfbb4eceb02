"""Voters of one cluster in this process: real sockets on the loopback, real files, one reactor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import zmq

from eventstore.access.keys import new_curve_keys, new_sign_keys
from eventstore.errors import EventStoreError
from eventstore.events import STREAM, KeyAdmitted, VoterPlaced, VotersChanged
from eventstore.raft.generations import TrustTakeover, trust_none
from eventstore.raft.messages import Message
from eventstore.raft.state import LAN, Timing
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Stored
from eventstore.replica import Committed, Outcome
from eventstore.voter.creation import create_log
from eventstore.voter.links import VoterLinks
from eventstore.voter.opening import open_quorum, wall_clock_ms
from eventstore.voter.quorum import QuorumVoter
from eventstore.voter.storage import create_voter
from eventstore.wire.zap import ZapHandler
from tests.eventstore.storage_lab import CLUSTER, ORIGIN, START_MS, batch

WITHIN_S = 30.0
NAMES = ("v1", "v2", "v3")


class Member:
    """One voter: up from `start` to `stop`; its files stay."""

    def __init__(self, lab: QuorumLab, name: str, *, founder: bool) -> None:
        self.lab, self.name = lab, name
        self.directory = lab.directory / name
        self.keys = new_curve_keys()
        self.sign_keys = new_sign_keys()
        self.told: list[Stored] = []  # in this life
        self.up: QuorumVoter | None = None
        self.links: VoterLinks | None = None
        self.deaf_to: set[str] = set()  # voters whose messages do not arrive here
        self.replication = "tcp://127.0.0.1:*"
        self.clock_off_ms = 0  # of its machine's wall clock
        if founder:
            create_log(
                self.directory, cluster_id=CLUSTER, origin=ORIGIN, voter=name, now_ms=START_MS
            )
        else:
            self.inc = create_voter(self.directory, cluster_id=CLUSTER)

    @property
    def replica(self) -> QuorumVoter:
        """The running voter."""
        assert self.up is not None, f"{self.name} is down"
        return self.up

    def start(self, seeds: tuple[VoterPlaced, ...] = ()) -> QuorumVoter:
        """Open the files and the links, and take part."""
        reactor = self.lab.reactor
        self.told = []
        self.up = open_quorum(
            self.directory,
            voter=self.name,
            post=reactor.call_soon_threadsafe,
            call_at=reactor.call_at,
            timing=self.lab.timing,
            fatal=self.lab.fatal,
            seeds=seeds,
            trusts=self.lab.trusts,
            sign_seed=self.sign_keys.seed,
            now_ms=lambda: wall_clock_ms() + self.clock_off_ms,
        )
        self.inc = self.up.core.voter.me.inc
        self.up.on_committed(self.told.extend)
        self.links = VoterLinks(
            reactor,
            self.replication,
            keys=self.keys,
            zap=self.lab.zap,
            places=self.up.places,
            on_message=self._hear,
            domain=f"voters.{self.name}",
        )
        self.replication = self.links.endpoint
        self.up.start(self.links.send, self._send_bulk)
        return self.up

    def _send_bulk(self, to: str, message: Message) -> None:
        assert self.links is not None
        self.links.send(to, self.lab.on_bulk(message))

    def stop(self) -> None:
        """End. What it had said is on its disk; nobody is told that it ends."""
        assert self.links is not None
        self.links.close()
        self.replica.close()
        self.up = None

    @property
    def place(self) -> VoterPlaced:
        """Where it is."""
        return VoterPlaced(
            name=self.name,
            inc=self.inc.hex(),
            curve_key=self.keys.public,
            requests="",
            publications="",
            replication=self.replication,
        )

    def _hear(self, message: Message) -> None:
        if self.up is not None and message.sender not in self.deaf_to:
            self.up.receive(message)


class QuorumLab:
    """A cluster that begins with one voter and takes in the others, as any cluster does."""

    def __init__(self, directory: Path, *, timing: Timing = LAN) -> None:
        self.directory, self.timing = directory, timing
        self.reactor = Reactor(context=zmq.Context())  # its own: a context has one ZAP endpoint
        self.zap = ZapHandler(self.reactor)
        self.fatalities: list[EventStoreError] = []
        self.members: dict[str, Member] = {}
        self.trusts: TrustTakeover = trust_none
        self.on_bulk: Callable[[Message], Message] = lambda message: message  # what arrives of it

    def fatal(self, error: EventStoreError) -> None:
        """A voter would end its process."""
        self.fatalities.append(error)

    def close(self) -> None:
        """End everything."""
        for member in self.members.values():
            if member.up is not None:
                member.stop()
        self.reactor.close()
        self.reactor.context.term()

    def found(self, *names: str) -> None:
        """Make the cluster of the first, then take in each of the others."""
        first = self.members[names[0]] = Member(self, names[0], founder=True)
        first.start()
        self.until(lambda: first.replica.leadership.ready)
        self.place(first)
        for name in names[1:]:
            self.join(name)

    def join(self, name: str) -> Member:
        """Take a voter in: place it, let it follow, let it vote."""
        member = self.members[name] = Member(self, name, founder=False)
        leader = self.leader()
        member.start(tuple(leader.replica.places.all.values()))
        self.place(member)
        before = leader.replica.config
        voters = {each: inc.hex() for each, inc in before.voters.items()}
        learning = VotersChanged(voters=voters, learners={name: member.inc.hex()})
        self.insist(Batch(drafts=(_log(learning),)))
        self.until(lambda: member.replica.committed >= leader.replica.committed)
        self.until(lambda: self._has_answered(leader, name))
        voting = VotersChanged(voters={**voters, name: member.inc.hex()})
        self.insist(Batch(drafts=(_log(voting),)))
        self.until(lambda: name in member.replica.config.voters)
        return member

    def _has_answered(self, leader: Member, name: str) -> bool:
        """Say whether the leader has heard from a peer what it holds."""
        reign = leader.replica.core.leading
        return reign is not None and reign.progress[name].match > 0

    def place(self, member: Member) -> None:
        """Record where a voter is."""
        admitted = KeyAdmitted(
            name=f"voter:{member.name}",
            role="voter",
            curve_key=member.keys.public,
            sign_key=member.sign_keys.public_text,
        )
        self.insist(Batch(drafts=(_log(admitted), _log(member.place))))

    def running(self) -> list[Member]:
        """The voters that are up."""
        return [member for member in self.members.values() if member.up is not None]

    def leader(self) -> Member:
        """Wait until somebody leads and can be asked."""
        found: list[Member] = []

        def look() -> bool:
            found[:] = [m for m in self.running() if m.replica.leadership.ready]
            return bool(found)

        self.until(look)
        return max(found, key=lambda member: member.replica.leadership.epoch)

    def ask(self, member: Member, *batches: Batch) -> list[Outcome]:
        """Propose batches to one voter, pipelined, and return what became of each."""
        outcomes: dict[int, Outcome] = {}
        for number, asked in enumerate(batches):
            member.replica.propose(
                asked,
                lambda outcome, n=number: outcomes.__setitem__(n, outcome),  # type: ignore[misc]  # a default
            )
        self.until(lambda: len(outcomes) == len(batches))
        return [outcomes[number] for number in range(len(batches))]

    def commit(self, *batches: Batch) -> list[Committed]:
        """Propose to the leader; all must be committed."""
        outcomes = self.ask(self.leader(), *batches)
        committed = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
        assert len(committed) == len(outcomes), outcomes
        return committed

    def insist(self, batch: Batch) -> None:
        """Commit what may be said twice: on a busy machine a leader may be replaced meanwhile."""
        self.until(lambda: isinstance(self.ask(self.leader(), batch)[0], Committed))

    def write(self, count: int) -> list[Committed]:
        """Commit some batches of one to three records."""
        return self.commit(*(batch(*"abc"[: 1 + n % 3], what=n) for n in range(count)))

    def until(self, holds: Callable[[], bool]) -> None:
        """Turn until it holds."""
        assert self.reactor.run_until(holds, timeout_s=WITHIN_S), "it took too long"

    def level(self) -> None:
        """Wait until every voter that is up has told all that any of them has."""
        self.until(lambda: len({member.replica.committed for member in self.running()}) == 1)

    def pass_time(self, seconds: float) -> None:
        """Let time pass: for what must not happen in it."""
        self.reactor.run_until(lambda: False, timeout_s=seconds)


def hashes(member: Member) -> list[bytes]:
    """The hash of every committed record of a voter."""
    replica = member.replica
    return [stored.hash for stored in replica.read(1, replica.committed)]


def _log(event: KeyAdmitted | VoterPlaced | VotersChanged) -> Draft:
    return Draft(stream=STREAM, event=event, actor="test")
