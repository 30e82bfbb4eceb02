"""Bugs to plant: each breaks one rule of the production code for as long as it is planted.

A mutant replaces one function or method of the real code; nothing in the production code knows of
them. Each must be found by some seed, or the simulator is too weak; `killing_seeds.json` keeps one
for each that was found, and the tests replay it. To add one: a function that returns what to put in
place of what, and `python -m tests.simulation --mutants NAME --write`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from eventstore.raft import core, election, leading, membership
from eventstore.raft.effects import Outgoing, Persist, ReadReady
from eventstore.raft.entry import Position
from eventstore.raft.following import Following
from eventstore.raft.leading import Leading
from eventstore.raft.messages import Append, Message
from eventstore.raft.reads import ReadIndex
from eventstore.raft.state import NOBODY
from eventstore.raft.voter import Voter

SEEDS = Path(__file__).with_name("killing_seeds.json")

Place = tuple[Any, str, Any]  # (module or class, name, what to put there)


def _vote_for_shorter_logs() -> Place:
    """R3: whoever asks gets the vote, however short its log."""
    return election, "is_level", lambda vote, last: True


def _vote_twice() -> Place:
    """R3: the vote of a term is given again and again."""
    real = election.refusal

    def refusal(elector: election.Elector, vote: Any) -> str:
        reason = real(elector, vote)
        return "" if reason == "voted" else reason

    return core, "refusal", refusal


def _vote_while_recovering() -> Place:
    """R9: a voter that lost what it had said votes and stands as if nothing were."""
    return Voter, "able", property(lambda voter: not voter.superseded and voter.installing is None)


def _forget_the_mark() -> Place:
    """R9: the ack mark is not looked at."""
    return core, "assess", lambda mark, found, held, last: (found, None)


def _count_old_terms() -> Place:
    """R4: records of earlier terms are committed by counting (Raft paper, figure 8)."""
    real = Leading.__init__

    def init(self: Leading, voter: Voter) -> None:
        real(self, voter)
        self._commitment.epoch_start = 1

    return Leading, "__init__", init


def _commit_unmatched_tail() -> Place:
    """R7: a follower commits what the leader has committed, whatever stands there in its log."""

    def committed(self: Following, append: Append, matched: int) -> int:
        return min(append.commit_seq, self._voter.log.last.seq)

    return Following, "_committed", committed


def _lead_for_ever() -> Place:
    """R8: no check-quorum."""
    return Leading, "_has_quorum", lambda self: True


def _change_two_voters() -> Place:
    """R10: more than one voter may change at a time."""
    return membership, "_flaw_of_step", lambda old, new, level: None


def _change_before_no_op() -> Place:
    """R10: a change is accepted before a record of the term is committed."""
    real = membership.flaw_of_change

    def flaw(old: Any, new: Any, **asked: Any) -> Any:
        return real(old, new, **{**asked, "epoch_committed": True})

    return leading, "flaw_of_change", flaw


def _change_while_changing() -> Place:
    """R10: a change is accepted while another is not committed."""
    real = membership.flaw_of_change

    def flaw(old: Any, new: Any, **asked: Any) -> Any:
        return real(old, new, **{**asked, "committed": old.seq})

    return leading, "flaw_of_change", flaw


def _listen_to_old_leaders() -> Place:
    """R2: messages of a lower term are taken for ones of this term."""
    return core.Core, "_refuse_old", lambda self, message: self._dispatch(message)


def _forget_the_vote() -> Place:
    """R1: the vote is not made durable."""
    real = Voter.take_persist

    def take_persist(self: Voter) -> Persist | None:
        persist = real(self)
        if persist is None:
            return None
        mark = msgspec.structs.replace(persist.mark, voted_for="", voted_inc=b"")
        return persist._replace(hard=persist.hard._replace(vote=NOBODY), mark=mark)

    return Voter, "take_persist", take_persist


def _speak_before_sync() -> Place:
    """R1: whatever is to be said is said at once."""

    def hold(self: Voter, _ticket: int, to: str, message: Message) -> None:
        self._messages.append(Outgoing(to, message))

    return Voter, "_hold", hold


def _skip_prev_hash() -> Place:
    """R5: seq and epoch of the record before are compared, its hash is not."""

    def agreement(self: Following, append: Append) -> Position | None:
        own = self._voter.log.position(append.prev_seq)
        same = own is not None and own.epoch == (append.prev_gen, append.prev_term)
        return own if same else None

    return Following, "_agreement", agreement


def _read_without_asking() -> Place:
    """R11: the leader answers reads without making sure that it leads."""

    def answered(self: ReadIndex, voters: frozenset[str], me: str) -> list[ReadReady]:
        answers = [ReadReady(asked.request, asked.seq) for asked in self._asked]
        self._asked.clear()
        return answers

    return ReadIndex, "answered", answered


def _deliver_before_commit() -> Place:
    """R12: what is durable here is told of at once."""

    def deliver(self: core.Core) -> Any:
        log = self._voter.log
        if self._delivered >= log.durable:
            return []
        found = log.entries(self._delivered + 1, 1 << 20)
        entries = [entry for entry in found if entry.last <= log.durable]
        self._delivered = entries[-1].last
        return entries

    return core.Core, "_deliver", deliver


MUTANTS: dict[str, Callable[[], Place]] = {
    "vote-for-shorter-logs": _vote_for_shorter_logs,
    "vote-twice": _vote_twice,
    "vote-while-recovering": _vote_while_recovering,
    "forget-the-mark": _forget_the_mark,
    "count-old-terms": _count_old_terms,
    "commit-unmatched-tail": _commit_unmatched_tail,
    "lead-for-ever": _lead_for_ever,
    "change-two-voters": _change_two_voters,
    "change-before-no-op": _change_before_no_op,
    "change-while-changing": _change_while_changing,
    "listen-to-old-leaders": _listen_to_old_leaders,
    "forget-the-vote": _forget_the_vote,
    "speak-before-sync": _speak_before_sync,
    "skip-prev-hash": _skip_prev_hash,
    "read-without-asking": _read_without_asking,
    "deliver-before-commit": _deliver_before_commit,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the time of the context."""
    target, attribute, replacement = MUTANTS[name]()
    with patch.object(target, attribute, replacement):
        yield


def killing_seeds() -> dict[str, int]:
    """Return a seed for each mutant that finds it."""
    found: dict[str, int] = json.loads(SEEDS.read_text())
    return found


def keep(seeds: dict[str, int]) -> None:
    """Keep these seeds beside those of other mutants."""
    known = killing_seeds() if SEEDS.exists() else {}
    SEEDS.write_text(json.dumps({**known, **seeds}, indent=2, sort_keys=True) + "\n")
