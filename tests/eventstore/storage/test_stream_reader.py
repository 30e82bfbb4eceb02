"""Reading a stream: the index as far as it is, the log behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.storage.stream_reader import IndexedStreams
from tests.eventstore.wire_voter import MemoryReplica


class LaggingIndex:
    """An index that knows the log up to a seq; its own reader may see more than it says."""

    def __init__(self, replica: MemoryReplica, seq: int, *, sees: int) -> None:
        self._replica = replica
        self.seq = seq
        self._sees = sees

    def seqs(self, where: str, parameters: Sequence[str | int]) -> Iterable[int]:
        assert where == "stream = ? AND version BETWEEN ? AND ?"
        stream, first, last = parameters
        assert isinstance(first, int)
        assert isinstance(last, int)
        for stored in self._replica.log[: self._sees]:
            record = stored.record
            if record.stream == stream and first <= record.version <= last:
                yield record.seq


@pytest.mark.property
@given(
    st.lists(st.sampled_from("ab"), max_size=40),
    st.integers(0, 40),
    st.integers(0, 10),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_a_stream_is_read_whole_however_far_the_index_is(
    shape: list[str], indexed: int, ahead: int, first: int, limit: int
) -> None:
    """Whatever the index has reached, also while it moves on, each record comes once, in order."""
    replica = MemoryReplica()
    for stream in shape:
        replica.append(stream)
    seq = min(indexed, replica.committed)
    index = LaggingIndex(replica, seq, sees=min(seq + ahead, replica.committed))
    found = IndexedStreams(replica, index).read_stream("a", first, limit)
    assert list(found) == list(replica.read_stream("a", first, limit))
