"""What becomes a fact, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.calls import DiskSeen, InstanceSeen, Observation
from nodeagent.journal import Known, Noticed
from nodeagent.observer import DISK_OF, Observer

SETTLE_S = 2.0


def new_observer() -> Observer:
    return Observer([Known(DISK_OF, "d1", "i1")], 0, settle_s=SETTLE_S)


def news(entries: list[Known | Noticed]) -> list[Observation]:
    return [entry.observation for entry in entries if isinstance(entry, Noticed)]


def see(observer: Observer, now: float, state: str, role: str = "secondary") -> list[str]:
    """Look at one disk; return the states that are reported."""
    found = news(observer.look(now, [DiskSeen("d1", state, role)], []))
    return [one.state for one in found]


def test_a_mirror_is_reported_when_it_changes_and_only_then() -> None:
    """The first state, the sync, its end; each once."""
    observer = new_observer()
    looks = ["ok", "ok", "syncing", "syncing", "ok", "faulty", "faulty"]
    assert [see(observer, 0.0, state) for state in looks] == [
        ["ok"], [], ["syncing"], [], ["ok"], ["faulty"], [],
    ]  # fmt: skip


def test_a_short_degradation_is_no_news() -> None:
    """Only what has lasted is reported, and its end after that."""
    observer = new_observer()
    assert see(observer, 0.0, "ok") == ["ok"]
    assert see(observer, 0.5, "degraded") == []
    assert see(observer, 0.9, "ok") == []
    assert see(observer, 3.0, "degraded") == []
    assert see(observer, 4.9, "degraded") == []
    assert see(observer, 5.1, "degraded") == ["degraded"]
    assert see(observer, 6.0, "ok") == ["ok"]


def test_a_plain_disk_is_taken_to_be_ok() -> None:
    """Only that it became faulty, or good again, is said; inactive never."""
    observer = new_observer()
    looks = ["inactive", "ok", "faulty", "ok", "inactive"]
    said = [see(observer, 0.0, state, role="") for state in looks]
    assert said == [[], [], ["faulty"], ["ok"], []]


def test_a_disk_of_an_unknown_instance_is_not_reported() -> None:
    """Nobody could do anything with it."""
    observer = Observer([], 0, settle_s=SETTLE_S)
    assert see(observer, 0.0, "faulty") == []
    observer.belongs("d1", "i1")
    assert see(observer, 0.0, "faulty") == ["faulty"]


def test_a_guest_that_ended_by_itself_is_reported_once() -> None:
    """A crash, then that it runs again; a guest that was stopped by order is no news."""
    observer = new_observer()
    states = ["running", "crashed", "crashed", "running", "user-down"]
    said = []
    for state in states:
        seen = InstanceSeen("i1", "web", state, 512, 1, 3)
        said.append([one.state for one in news(observer.look(0.0, [], [seen]))])
    assert said == [[], ["crashed"], [], ["running"], ["user-down"]]
    assert news(observer.look(0.0, [], [])) == []


def test_what_is_said_of_a_mirror_is_said_again() -> None:
    """Three times, later and later, and once after a restart: it may have come too early."""
    observer = new_observer()
    said = [second for second in range(60) if see(observer, float(second), "ok")]
    assert said == [0, 1, 5, 25]
    kept = [Known(DISK_OF, "d1", "i1"), Known("disk", "d1", "ok")]
    observer = Observer(kept, observer.serial, settle_s=SETTLE_S)
    assert [see(observer, float(second), "ok") for second in range(3)] == [["ok"], [], []]


@pytest.mark.property
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ok", "syncing", "degraded", "faulty", "inactive"]),
            st.integers(0, 5),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_serials_rise_and_the_last_word_is_true(looks: list[tuple[str, float, bool]]) -> None:
    """Whatever is seen, over restarts too: serials are dense, what was said last is what is seen
    once it has lasted, and nothing is said of an inactive disk."""
    known: dict[tuple[str, str], Known] = {}
    observer, now, said = new_observer(), 0.0, list[Observation]()
    for state, passed_s, restart in looks:
        for moment in (now + passed_s, now + passed_s + SETTLE_S):
            for entry in observer.look(moment, [DiskSeen("d1", state, "primary")], []):
                if isinstance(entry, Known):
                    known[entry.kind, entry.uuid] = entry
                else:
                    said.append(entry.observation)
        now += passed_s + SETTLE_S
        if state != "inactive":
            assert said[-1].state == state
        if restart:
            kept = [Known(DISK_OF, "d1", "i1"), *known.values()]
            observer = Observer(kept, observer.serial, settle_s=SETTLE_S)
    assert [one.serial for one in said] == list(range(1, len(said) + 1))
    assert all(one.state != "inactive" for one in said)


def test_a_mirror_that_a_call_dealt_with_is_said_again() -> None:
    """Its sync may have ended between two looks: unchanged, and yet somebody waits to hear it."""
    observer = new_observer()
    assert see(observer, 0.0, "ok") == ["ok"]
    for now in (1.0, 5.0, 25.0):
        assert see(observer, now, "ok") == ["ok"]
    assert see(observer, 60.0, "ok") == []
    observer.belongs("d1", "i1")
    said = [see(observer, 100.0 + delay, "ok") for delay in (0.0, 1.0, 2.0, 5.0, 25.0, 26.0)]
    assert said == [[], ["ok"], [], ["ok"], ["ok"], []]
