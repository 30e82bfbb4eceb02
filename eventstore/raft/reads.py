"""Linearizable reads (R11, pure). Ongaro's thesis, section 6.4.

A leader cannot know by itself that it still leads. So for a read it notes what is committed, then
makes sure that a majority still follows it: each append bears the number of the newest question,
the answers return it, and as soon as a majority has returned a number at least as high, everything
up to the noted seq may be read. Questions that come before the next append share its number.

Before a record of its own term is committed a leader does not know what is committed (etcd 7331),
so earlier questions wait for that. There are no clock leases.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from eventstore.raft.commitment import held_by_majority
from eventstore.raft.effects import ReadReady


class _Asked(NamedTuple):
    context: int
    request: int
    seq: int


class ReadIndex:
    """The questions of one reign."""

    def __init__(self) -> None:
        self._context = 0
        self._sent = 0
        self._early: list[int] = []
        self._asked: deque[_Asked] = deque()
        self._returned: dict[str, int] = {}

    def ask(self, request: int, committed: int | None) -> None:
        """Note a question; `committed` is None as long as no record of this term is committed."""
        if committed is None:
            self._early.append(request)
            return
        if self._sent == self._context:
            self._context += 1
        self._asked.append(_Asked(self._context, request, committed))

    def on_epoch_committed(self, committed: int) -> None:
        """Ask what had to wait."""
        early, self._early = self._early, []
        for request in early:
            self.ask(request, committed)

    @property
    def unsent(self) -> bool:
        """There is a question that no append has borne yet."""
        return self._sent < self._context

    def number(self) -> int:
        """Return the number that an append bears that is made now."""
        self._sent = self._context
        return self._context

    def on_returned(self, voter: str, context: int) -> None:
        """Note that a peer answered an append that bore this number."""
        self._returned[voter] = max(context, self._returned.get(voter, 0))

    def answered(self, voters: frozenset[str], me: str) -> list[ReadReady]:
        """Return the reads that a majority of `voters` has confirmed."""
        if not self._asked:
            return []
        returned: Mapping[str, int] = {**self._returned, me: self._context}
        confirmed = held_by_majority(returned, voters)
        answers: list[ReadReady] = []
        while self._asked and self._asked[0].context <= confirmed:
            asked = self._asked.popleft()
            answers.append(ReadReady(asked.request, asked.seq))
        return answers

    def give_up(self) -> list[ReadReady]:
        """Return every open question unanswered: the reign is over."""
        requests = [*self._early, *(asked.request for asked in self._asked)]
        self._early, self._asked = [], deque()
        return [ReadReady(request, None) for request in requests]
