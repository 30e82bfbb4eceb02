"""The store against a model: a dictionary of versions, a set of keys and a list of records."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from eventstore.record import Batch, Stored
from eventstore.replica import Committed, Outcome, Refused
from eventstore.storage.verify import verify
from eventstore.voter.quorum import QuorumVoter
from tests.eventstore.failing_disk import FailingDisk
from tests.eventstore.storage_lab import Lab, batch

STREAMS = ("a", "b", "c")
KEYS = st.none() | st.sampled_from(("k1", "k2", "k3"))
NAMES = st.lists(st.sampled_from(STREAMS), min_size=1, max_size=4)


class StoreMachine(RuleBasedStateMachine):
    """Append, repeat, clash, run out of room, restart: what the model says is what is there."""

    @initialize()
    def begin(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="cairn-law-"))
        self.disk = FailingDisk(self.scratch.name)
        self.lab = Lab(self.scratch / "log")
        self.versions = dict.fromkeys(STREAMS, 0)
        self.keys: dict[str, tuple[Stored, ...]] = {}
        self.told: list[Stored] = []
        self.full = False
        self._open()

    def _open(self) -> None:
        self.replica: QuorumVoter = self.lab.open(vfs=self.scratch.name)
        self.before = list(self.replica.read(1, self.replica.committed))
        self.told = []
        self.replica.on_committed(self.told.extend)

    @rule(names=NAMES, key=KEYS, off=st.sampled_from((0, 0, 0, 1)), checked=st.booleans())
    def append(self, names: list[str], key: str | None, off: int, checked: bool) -> None:
        """One batch; `off`: its expectation is wrong by so much."""
        expected = {names[0]: self.versions[names[0]] + off} if checked else {}
        (outcome,) = self.lab.ask(self.replica, batch(*names, key=key, expected=expected))
        self._judge(names, key, wrong=checked and off != 0, outcome=outcome)

    @rule(groups=st.lists(NAMES, min_size=2, max_size=6))
    def pipeline(self, groups: list[list[str]]) -> None:
        """Several batches at once, each expecting what the one before makes."""
        versions = dict(self.versions)
        asked: list[Batch] = []
        for names in groups:
            asked.append(batch(*names, expected={name: versions[name] for name in set(names)}))
            for name in names:
                versions[name] += 1
        if self.full:  # sooner, the first is refused at once, and what builds on it clashes
            self.lab.wait_for_retry(self.replica)
        for names, outcome in zip(groups, self.lab.ask(self.replica, *asked), strict=True):
            self._judge(names, None, wrong=False, outcome=outcome)

    def _judge(self, names: list[str], key: str | None, *, wrong: bool, outcome: Outcome) -> None:
        if key in self.keys:
            assert outcome == Committed(self.keys[key or ""], repeated=True)
        elif wrong:
            assert isinstance(outcome, Refused)
            assert outcome.code == "clash"
        elif self.full:
            assert isinstance(outcome, Refused)
            assert outcome.code == "disk-full"
        else:
            assert isinstance(outcome, Committed)
            assert not outcome.repeated
            assert [stored.record.stream for stored in outcome.records] == names
            for stored in outcome.records:
                self.versions[stored.record.stream] += 1
                assert stored.record.version == self.versions[stored.record.stream]
            if key:
                self.keys[key] = outcome.records

    @precondition(lambda self: not self.full)
    @rule()
    def fill_disk(self) -> None:
        """From now on there is no room."""
        self.disk.fail_writes(apsw.FullError("no room"))
        self.full = True

    @precondition(lambda self: self.full)
    @rule()
    def make_room(self) -> None:
        """Somebody cleaned up."""
        self.disk.heal()
        self.lab.wait_for_room(self.replica)
        self.full = False

    @precondition(lambda self: not self.full)
    @rule()
    def restart(self) -> None:
        """Close and open: nothing is different but the epoch."""
        everything = [*self.before, *self.told]
        self.replica.close()
        self._open()
        assert self.before[:-1] == everything
        assert self.before[-1].record.kind == "log.epoch-started"

    @invariant()
    def versions_agree(self) -> None:
        """The heads of all streams are those of the model."""
        assert {name: self.replica.version(name) for name in STREAMS} == self.versions

    @invariant()
    def committed_is_what_was_told(self) -> None:
        """Everything that can be read was told, in order, and nothing else."""
        assert [*self.before, *self.told] == list(self.replica.read(1, self.replica.committed))

    def teardown(self) -> None:
        if hasattr(self, "replica"):
            self.disk.heal()
            self.replica.close()
            report = verify(self.lab.directory)
            assert report.ok, report.findings
            self.disk.unregister()
            shutil.rmtree(self.scratch)


TestStore = pytest.mark.property(StoreMachine.TestCase)
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
