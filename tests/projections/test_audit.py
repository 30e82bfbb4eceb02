"""The rows that auditors read, made from single records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore.storage.log_view import LogView
from projections.audit import MAX_SUMMARY, summary
from projections.events import configuration as c
from projections.registry import decode
from tests.projections.golden import every_kind
from tests.projections.log_on_disk import write_log
from tests.projections.stories import CURVE_KEY, uid


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogView]:
    write_log(tmp_path, every_kind().records)
    with LogView(tmp_path) as view:
        yield view


def rows(log: LogView, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    assert log.index is not None
    return list(log.index.db.query(sql, parameters))


def test_the_audit_tells_who_did_what_to_which_object(log: LogView) -> None:
    """All that was decided about one instance stands in order, with who and for which job."""
    web = uid("web1.example.net")
    found = rows(log, "SELECT * FROM audit WHERE object = ? ORDER BY seq", web)
    assert [row["kind"] for row in found][:2] == ["instance.created", "instance.state-seen"]
    assert found[0]["summary"] == "instance=web1.example.net"
    assert found[0]["job"] == 1
    assert {row["object_table"] for row in found} == {"instance"}
    assert {row["actor"] for row in found} == {"operator:alice"}
    assert any(row["summary"].endswith("admin_state=down") for row in found)


def test_the_engine_s_own_steps_are_not_in_the_audit(log: LogView) -> None:
    """Tasks, plans and waits are told by the job's records; failures and parking stay."""
    kinds = {row["kind"] for row in rows(log, "SELECT DISTINCT kind FROM audit")}
    assert not kinds & {"task.requested", "task.done", "op.planned", "log.checkpoint"}
    assert {"job.submitted", "op.failed", "op.parked", "task.failed", "tags.added"} <= kinds


def test_a_key_has_one_row_from_admission_to_revocation(log: LogView) -> None:
    """The row of a revoked key still says whose it was."""
    found = {row["curve_key"]: row for row in rows(log, "SELECT * FROM access_key")}
    assert found[CURVE_KEY]["name"] == "operator:alice"
    assert found[CURVE_KEY]["revoked_seq"] is None
    revoked = found["o" * 40]
    assert (revoked["name"], revoked["role"]) == ("auditor:eve", "auditor")
    assert revoked["admitted_seq"] < revoked["revoked_seq"]


def test_every_event_has_a_summary_of_one_short_line() -> None:
    """Whatever the event, its summary is bounded and has no line break."""
    for stored in every_kind().records:
        event = decode(stored.record)
        assert event is not None
        text = summary(event)
        assert len(text) <= MAX_SUMMARY
        assert "\n" not in text


def test_a_long_summary_is_cut() -> None:
    """A reason of any length is told up to the limit, and that it was cut is seen."""
    text = summary(c.ClusterDestroyed(reason="x" * 1000))
    assert len(text) == MAX_SUMMARY
    assert text.endswith("…")
