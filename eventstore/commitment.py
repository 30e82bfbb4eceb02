"""When a record is committed: when a majority of the voters has it on disk (pure).

No socket, no clock, no thread: tell it what happened, carry out what it returns, in order. One
voter is a majority of one and takes the same path.
"""

from __future__ import annotations

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
        held = sorted((self.durable.get(v, 0) for v in self.voters), reverse=True)
        by_majority = held[len(held) // 2]
        # Records of an earlier epoch commit only under one of this epoch: a majority that holds
        # them can still be overwritten (Raft paper, section 5.4.2 and figure 8).
        if by_majority < self.epoch_start or by_majority <= self.committed:
            return ()
        self.committed = by_majority
        return (Announce(by_majority),)
