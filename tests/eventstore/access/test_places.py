from __future__ import annotations

from pathlib import Path

from eventstore.access.places import Places
from eventstore.events import STREAM, KeyRevoked, VoterPlaced
from eventstore.record import Batch, Draft, Event, Stored
from eventstore.replica import Committed
from tests.eventstore.storage_lab import Lab


def placed(name: str, key: str, port: int = 1) -> VoterPlaced:
    return VoterPlaced(
        name=name,
        inc="11" * 16,
        curve_key=key,
        requests="",
        publications="",
        replication=f"tcp://127.0.0.1:{port}",
    )


def records(lab: Lab, *events: Event) -> tuple[Stored, ...]:
    """Records of these events, as a log makes them."""
    replica = lab.open()
    drafts = tuple(Draft(stream=STREAM, event=event, actor="test") for event in events)
    (outcome,) = lab.ask(replica, Batch(drafts=drafts))
    replica.close()
    assert isinstance(outcome, Committed)
    return outcome.records


def test_the_last_place_of_a_voter_counts(tmp_path: Path) -> None:
    """A voter that moves, or has a new key, is found where it is now, by the key it has now."""
    lab = Lab(tmp_path / "log")
    places = Places([placed("v1", "seed"), placed("v9", "k9")])
    places.apply(records(lab, placed("v1", "k1"), placed("v2", "k2"), placed("v1", "k3", 5)))
    assert {name: place.curve_key for name, place in places.all.items()} == {
        "v1": "k3",
        "v2": "k2",
        "v9": "k9",
    }
    assert [places.holder_of(key) for key in ("k3", "k2", "k1", "seed")] == ["v1", "v2", None, None]


def test_a_revoked_key_is_nobodys(tmp_path: Path) -> None:
    """Whoever had it is no voter any more, wherever it was."""
    lab = Lab(tmp_path / "log")
    places = Places()
    places.apply(records(lab, placed("v1", "k1"), KeyRevoked(curve_key="k1")))
    assert (places.get("v1"), places.holder_of("k1")) == (None, None)
