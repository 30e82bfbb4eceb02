"""When a record is committed: when a majority of the voters has it on disk (pure).

No socket, no clock, no thread: tell it what happened, carry out what it returns, in order. One
voter is a majority of one and takes the same path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Announce:
    """Every record up to `committed` is committed now."""

    committed: int


@dataclass(slots=True)
class Commitment:
    """The quorum arithmetic of one epoch."""

    voters: frozenset[str]
    epoch_start: int  # seq of the first record of this epoch
    committed: int = 0  # known from earlier epochs
    durable: dict[str, int] = field(default_factory=dict)

    def on_durable(self, voter: str, seq: int) -> tuple[Announce, ...]:
        """Note that `voter` has synced every record up to `seq`, in this epoch.

        Late, repeated and reordered reports are harmless.
        """
        assert voter in self.voters, voter  # the session drops strangers and other epochs
        self.durable[voter] = max(seq, self.durable.get(voter, 0))
        return self._settle()

    def on_voters(self, voters: frozenset[str], durable: Mapping[str, int]) -> tuple[Announce, ...]:
        """Count among `voters` from now on; `durable` says what each has synced, in this epoch.

        A smaller set may commit at once what the larger one had not.
        """
        self.voters = voters
        self.durable = {voter: durable.get(voter, 0) for voter in voters}
        return self._settle()

    def _settle(self) -> tuple[Announce, ...]:
        by_majority = held_by_majority(self.durable, self.voters)
        # Records of an earlier epoch commit only under one of this epoch: a majority that holds
        # them can still be overwritten (Raft paper, section 5.4.2 and figure 8).
        if by_majority < self.epoch_start or by_majority <= self.committed:
            return ()
        self.committed = by_majority
        return (Announce(by_majority),)


def held_by_majority(held: Mapping[str, int], voters: frozenset[str]) -> int:
    """Return the largest value that more than half of `voters` have reached; absent means 0."""
    values = sorted((held.get(voter, 0) for voter in voters), reverse=True)
    return values[len(values) // 2]


def majority(voters: int) -> int:
    """Return how many of so many voters are more than half."""
    return voters // 2 + 1
