"""Recorded events of every schema: they are read and folded for ever."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from eventstore.record import Stored
from projections.registry import REGISTRY, decode
from projections.state import Projector, digest_of
from tests.projections.golden import every_kind, files, recorded


def kinds(records: Iterable[Stored]) -> set[tuple[str, int]]:
    return {(stored.record.kind, stored.record.schema) for stored in records}


def test_every_kind_has_recorded_bytes_of_each_of_its_schemas() -> None:
    """No schema that was ever written is without golden bytes."""
    golden = {key for path in files() for key in kinds(recorded(path))}
    wanted = {(event.KIND, schema) for event in REGISTRY for schema in range(1, event.SCHEMA + 1)}
    assert golden == wanted


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_recorded_history_is_decoded_and_folded(path: object) -> None:
    """Each golden file folds to its end, whatever schema its events are of."""
    records = recorded(path)  # type: ignore[arg-type] # pytest's parameter
    assert all(decode(stored.record) is not None for stored in records)
    projector = Projector()
    ended = projector.apply(records)
    assert projector.seq == len(records)
    assert [job.status for job in ended] == ["success", "error", "error"]
    assert not projector.state.jobs.open
    assert not projector.state.cluster.instances
    assert not projector.state.cluster.reserved
    assert projector.state.cluster.settings.destroyed
    assert projector.digest() == digest_of(projector.state)


def test_the_story_still_tells_every_kind() -> None:
    """The story from which the next golden file is written has every present kind and schema."""
    told = kinds(every_kind().records)
    assert told == {(event.KIND, event.SCHEMA) for event in REGISTRY}
