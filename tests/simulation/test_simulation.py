"""The simulator itself: it replays, it finds planted bugs, and what it found stays mended."""

from __future__ import annotations

import pytest

from commands.engine.engine import Engine
from commands.engine.flight import Flight
from eventstore.replica import Refused
from tests.simulation.__main__ import flaw_of
from tests.simulation.jobs import JOBS, JobRun
from tests.simulation.mutants import MUTANTS, killing_seeds, planted
from tests.simulation.scenario import Run, Settings

JOB_SEEDS = 100

FAILED_BEFORE = (
    531,  # a lone voter refused for want of room what others had got before
    4302,  # a learner that had never answered became a voter, and there was no majority
    31,  # lost what it had acknowledged, and was never sent it again
    10,  # of an older generation, whose takeover stood further ahead than one append reaches
    48,  # of an older generation, and contradicted where nobody looked
    3740,  # went over to a generation while records of the old one were being installed
    925,  # an agent took a task of an older generation for one of the new at the same version
)


@pytest.mark.parametrize("seed", FAILED_BEFORE)
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    """What a seed found stays mended."""
    assert not flaw_of(Run(seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_replays_bit_for_bit(seed: int) -> None:
    """Two runs of one seed have the same events, records, answers and dice."""
    assert Run(seed).run().digest() == Run(seed).run().digest()


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_planted_bug_is_found(name: str) -> None:
    """The seed that found this mutant finds it again, and finds nothing without it."""
    seed = killing_seeds()[name]
    with planted(name):
        assert flaw_of(Run(seed))
    assert not flaw_of(Run(seed))


@pytest.mark.parametrize("first", range(0, JOB_SEEDS, 25))
def test_jobs_survive_what_happens_to_their_masters(first: int) -> None:
    """Every job that was recorded ends, each task once, and the node has what the ends say."""
    answered = 0
    for seed in range(first, first + 25):
        run = JobRun(seed)
        assert not flaw_of(run), f"seed {seed}"
        answered += len(run.submitter.jobs)
    assert answered == 25 * JOBS


def test_an_engine_that_is_lost_with_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that failed to hand over, and whose engine stopped meanwhile: seed 32 found it."""
    lost = Engine._take_back

    def stop(engine: Engine, flight: Flight, outcome: Refused) -> None:
        lost(engine, flight, outcome)
        if outcome.code == "not-leader":
            engine._stop(outcome)

    assert not flaw_of(JobRun(32))
    monkeypatch.setattr(Engine, "_take_back", stop)
    assert flaw_of(JobRun(32))


def test_a_calm_cluster_acknowledges_everything() -> None:
    """Without faults each write is acknowledged once a leader is there, by every voter alike."""
    run = Run(1, settings=Settings(faults=0)).run()
    assert not run.client.unknown
    assert not run.client.refused
    assert {node.delivered for node in run.nodes.values()} == {run.checker.newest.head}
