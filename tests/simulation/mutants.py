"""Bugs to plant: each breaks one rule of the production code for as long as it is planted.

A mutant replaces one function or method of the real code; nothing in the production code knows of
them. Each must be found by some seed, or the simulator is too weak; `killing_seeds.json` keeps one
for each that was found, and the tests replay it. To add one: a function that returns what to put in
place of what, and `python -m tests.simulation --mutants NAME --write`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from eventstore.raft import commitment, core, election, leading, membership
from eventstore.raft.effects import Outgoing, Persist, ReadReady
from eventstore.raft.entry import Position
from eventstore.raft.following import Following
from eventstore.raft.generations import takeover_in
from eventstore.raft.leading import Leading
from eventstore.raft.messages import Append, Message
from eventstore.raft.reads import ReadIndex
from eventstore.raft.state import NOBODY, Identity
from eventstore.raft.voter import Voter
from eventstore.record import Epoch, Record
from eventstore.storage.ack_mark import Mark
from eventstore.voter.idempotency import IdempotencyKeys
from nodeagent import core as agent
from nodeagent.calls import TaskResult
from nodeagent.journal import Ended, PromisedEpoch

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


def _deliver_before_durable() -> Place:
    """R12: what is committed is told of before it is durable here."""

    def deliver(self: core.Core) -> Any:
        log = self._voter.log
        if self._delivered >= log.committed:
            return []
        found = log.entries(self._delivered + 1, 1 << 20)
        entries = [entry for entry in found if entry.last <= log.committed]
        if entries:
            self._delivered = entries[-1].last
        return entries

    return core.Core, "_deliver", deliver


def _count_half() -> Place:
    """R4: half of the voters commit."""

    def held(held: Mapping[str, int], voters: frozenset[str]) -> int:
        values = sorted((held.get(voter, 0) for voter in voters), reverse=True)
        return values[(len(values) - 1) // 2]

    return commitment, "held_by_majority", held


def _elect_by_half() -> Place:
    """R3: half of the voters elect."""

    def won(self: election.Campaign) -> bool:
        return 2 * len(self.granted) >= len(self.voters)

    return election.Campaign, "won", property(won)


def _count_own_unwritten() -> Place:
    """R1: the leader counts what its own disk has not written yet (etcd 14370)."""

    def on_persisted(self: Leading) -> None:
        self._count(self._me, self._voter.log.last.seq)

    return Leading, "on_persisted", on_persisted


def _acknowledge_before_sync() -> Place:
    """R1: a follower acknowledges what its disk has not written yet."""

    def acknowledge(self: Voter, to: str, message: Message, seq: int) -> None:
        self.send(to, message)

    return Voter, "acknowledge", acknowledge


def _read_before_no_op() -> Place:
    """R11: reads do not wait for a record of the own term (etcd 7331)."""

    def read(self: Leading, request: int) -> None:
        self._reads.ask(request, self._voter.log.committed)

    return Leading, "read", read


def _keep_truncated_config() -> Place:
    """R10: a configuration goes on acting when its record was cut off."""
    return membership.Members, "on_truncate", lambda self, first: False


def _forget_the_loss() -> Place:
    """R9: a voter that recovers writes a mark that no longer names what it lost."""

    def mark(self: Voter) -> Mark:
        gen, term = self.hard.epoch
        return Mark(self.log.last.seq, self.log.last.hash, gen, term, *self.hard.vote, self.me.inc)

    return Voter, "_mark", mark


def _trust_names() -> Place:
    """R3: a voter is its name, whatever storage it has."""

    def votes(self: membership.Config, who: Identity) -> bool:
        return who.name in self.voters

    return membership.Config, "votes", votes


def _obey_old_generations() -> Place:
    """R2: messages of an older generation are taken for ones of this."""
    real = core.Core._other_generation

    def other(self: core.Core, message: Message) -> None:
        if message.gen < self._voter.epoch.gen:
            self._dispatch(message)
        else:
            real(self, message)

    return core.Core, "_other_generation", other


def _believe_any_generation() -> Place:
    """R2: a higher generation is adopted from a header, without the takeover's record."""
    return Following, "brings_takeover", lambda self, append: True


def _go_over_with_another_history() -> Place:
    """R2: who has committed what the new generation lacks goes over to it all the same."""

    def brings(self: Following, append: Append) -> bool:
        agreed = self._agreement(append)
        if agreed is None:
            return False
        return takeover_in(append.takeover, append.gen, self._voter.trusts)

    return Following, "brings_takeover", brings


def _forget_keys() -> Place:
    """An idempotency key is not looked for: what was unknown is done twice."""
    return IdempotencyKeys, "find", lambda self, actor, key: None


def _forget_the_promise() -> Place:
    """Fencing: the agent does not write down what it promises."""
    real = agent.Core.on_epoch

    def on_epoch(self: agent.Core, epoch: Epoch) -> list[agent.Effect]:
        return [effect for effect in real(self, epoch) if not isinstance(effect, PromisedEpoch)]

    return agent.Core, "on_epoch", on_epoch


def _start_before_the_answer() -> Place:
    """Fencing: an agent starts tasks before the leader has answered its promise."""
    return agent.Core, "_go_on", lambda self: self._start()


def _obey_any_epoch() -> Place:
    """Fencing: a record vouches for itself, whoever delivers it."""
    real = agent.Core.on_record

    def on_record(
        self: agent.Core, record: Record, epoch: Epoch, *, leads: bool
    ) -> list[agent.Effect]:
        self._vouched = max(self._vouched, record.version)
        return real(self, record, epoch, leads=leads)

    return agent.Core, "on_record", on_record


def _run_again() -> Place:
    """An agent forgets, with a result that it has sent, that the task was run."""
    real = agent.Core._end

    def end(self: agent.Core, version: int, result: TaskResult) -> list[agent.Effect]:
        return [effect for effect in real(self, version, result) if not isinstance(effect, Ended)]

    return agent.Core, "_end", end


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
    "deliver-before-durable": _deliver_before_durable,
    "count-half": _count_half,
    "elect-by-half": _elect_by_half,
    "count-own-unwritten": _count_own_unwritten,
    "acknowledge-before-sync": _acknowledge_before_sync,
    "read-before-no-op": _read_before_no_op,
    "keep-truncated-config": _keep_truncated_config,
    "forget-the-loss": _forget_the_loss,
    "trust-names": _trust_names,
    "obey-old-generations": _obey_old_generations,
    "believe-any-generation": _believe_any_generation,
    "go-over-with-another-history": _go_over_with_another_history,
    "forget-keys": _forget_keys,
    "forget-the-promise": _forget_the_promise,
    "start-before-the-answer": _start_before_the_answer,
    "obey-any-epoch": _obey_any_epoch,
    "run-again": _run_again,
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
