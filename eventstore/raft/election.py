"""Who may be voted for, and how votes are counted (R3, pure). Raft paper 5.2, 5.4.1; thesis 9.6.

A campaign has two rounds. In the first (pre-vote) nothing is durable and nobody's term rises: would
you vote for me? A voter that has heard a leader lately says no. So a voter that comes back from
behind a broken link does not depose a leader that everybody else can reach. With a majority of such
promises the term rises, the own vote is made durable, and the second round asks in earnest. An
election that the leader itself asked for (transfer) goes straight to the second.

A vote is for a name and a storage. A disk that was wiped and brought back under the old name would
otherwise vote twice in one term.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eventstore.raft.commitment import majority
from eventstore.raft.entry import Position
from eventstore.raft.membership import Config
from eventstore.raft.messages import Vote
from eventstore.raft.state import NOBODY, HardState, Identity
from eventstore.record import Epoch


@dataclass(frozen=True, slots=True)
class Elector:
    """What a voter judges a candidate by."""

    hard: HardState
    config: Config
    last: Position
    able: bool  # not RECOVERING, not superseded, not in the middle of a segment
    hears_leader: bool  # within the least election timeout, or leads itself


def refusal(elector: Elector, vote: Vote) -> str:
    """Return why this vote is not given, "" if it is. For a real vote, its term is ours already."""
    candidate = Identity(vote.sender, vote.inc)
    if not elector.able:
        return "recovering"
    if not credible(vote, elector.config, elector.last):
        return "no voter"
    if vote.for_term < elector.hard.epoch.term:
        return "old term"
    if not is_level(vote, elector.last):
        return "log behind"
    if vote.pre:
        if vote.for_term == elector.hard.epoch.term:
            return "old term"
        return "leader heard" if elector.hears_leader else ""
    return "" if elector.hard.vote in (NOBODY, candidate) else "voted"


def credible(vote: Vote, config: Config, last: Position) -> bool:
    """Say whether the candidate is a voter, as far as one whose log ends at `last` can tell.

    One that is not known, but is strictly ahead, may be a voter by a record that is not here yet.
    """
    ahead = (Epoch(vote.last_gen, vote.last_term), vote.last_seq) > (last.epoch, last.seq)
    return ahead or config.votes(Identity(vote.sender, vote.inc))


def is_level(vote: Vote, last: Position) -> bool:
    """Say whether the candidate's log is at least as far as one that ends at `last`."""
    return (Epoch(vote.last_gen, vote.last_term), vote.last_seq) >= (last.epoch, last.seq)


@dataclass(slots=True)
class Campaign:
    """One round of asking."""

    pre: bool
    for_term: int
    voters: frozenset[str]
    transfer: bool = False
    granted: set[str] = field(default_factory=set)

    def on_reply(self, voter: str, *, granted: bool) -> None:
        """Count an answer. Repeated ones are harmless; a refusal is no answer for ever."""
        if granted and voter in self.voters:
            self.granted.add(voter)

    @property
    def won(self) -> bool:
        """A majority has said yes."""
        return len(self.granted) >= majority(len(self.voters))
