"""Who may connect: the fold of key events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.access.keyring import NO_KEYS, Identity, Keyring, Keys, fold
from eventstore.errors import CorruptLog
from eventstore.events import ROLES, STREAM, KeyAdmitted, KeyRevoked
from tests.eventstore.wire_voter import MemoryReplica

KEYS = ["a" * 40, "b" * 40, "c" * 40]
events = st.one_of(
    st.builds(
        KeyAdmitted,
        name=st.sampled_from(["operator:x", "node:y"]),
        role=st.sampled_from(ROLES),
        curve_key=st.sampled_from(KEYS),
    ),
    st.builds(KeyRevoked, curve_key=st.sampled_from(KEYS)),
)


@pytest.mark.property
@given(st.lists(events, max_size=12))
def test_a_key_is_what_its_last_event_says(history: list[KeyAdmitted | KeyRevoked]) -> None:
    """A key is admitted as its last event says, and the others do not matter to it."""
    replica = MemoryReplica()
    for event in history:
        replica.append_event(STREAM, event)
    keyring = Keyring(stored.record for stored in replica.log)
    for key in KEYS:
        last = next((e for e in reversed(history) if e.curve_key == key), None)
        wanted = Identity(last.name, last.role) if isinstance(last, KeyAdmitted) else None
        assert keyring.get(key) == wanted


def test_key_events_count_only_in_the_logs_own_stream() -> None:
    """An event that looks like an admission, but stands in another stream, admits nobody."""
    replica = MemoryReplica()
    admitted = KeyAdmitted(name="operator:mallory", role="operator", curve_key=KEYS[0])
    (stored,) = replica.append_event("job/1", admitted)
    assert fold(NO_KEYS, stored.record) == {}


def test_an_unreadable_key_event_is_corruption() -> None:
    """A key event with a role that does not exist, or with noise in it, raises CorruptLog."""
    replica = MemoryReplica()
    bad = KeyAdmitted(name="x", role="king", curve_key=KEYS[0])
    (stored,) = replica.append_event(STREAM, bad)
    with pytest.raises(CorruptLog):
        fold(NO_KEYS, stored.record)


def test_revocation_is_told_once_per_batch() -> None:
    """`on_revoked` hears of keys that a batch took away, and not of a key revoked twice."""
    replica, keyring = MemoryReplica(), Keyring()
    told: list[Keys] = []
    keyring.on_revoked(told.append)
    replica.on_committed(keyring.apply)
    replica.append_event(STREAM, KeyAdmitted(name="n", role="node", curve_key=KEYS[0]))
    replica.append_event(STREAM, KeyRevoked(curve_key=KEYS[0]))
    replica.append_event(STREAM, KeyRevoked(curve_key=KEYS[0]))
    assert told == [{KEYS[0]: Identity("n", "node")}]
