"""Hundreds of lines that somebody might type, one after the other, into a real lab."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from shell import main
from shell.failure import Status
from shell.session import Session
from tests.acceptance.live_lab import LiveLab
from tests.shell.typed_lines import Line, Typist

pytestmark = pytest.mark.acceptance

SEED = 20261122
LINES = 400


def test_whatever_is_typed_is_carried_out_or_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line ends in a bug, here or in a daemon; the log stays sound and folds to the same state.

    What fails says why, and the statuses are those that are documented.
    """
    lab = LiveLab(tmp_path / "lab")
    lab.up()
    try:
        monkeypatch.setenv("CAIRN_CONFIG", str(lab.layout.client))
        with_client = lab.session()
        typist = Typist(SEED)
        statuses = [_typed(typist.line(), with_client, capsys) for _ in range(LINES)]
        with_client.close()
        assert statuses.count(Status.SUCCESS) > LINES // 5, "too few lines do anything at all"
        assert "Verdict: sound" in lab.ok("gnt-log verify")
        assert "N\n" not in lab.ok("gnt-log replay --no-headers")
        for log in lab.layout.output.iterdir():
            assert "Traceback" not in log.read_text(errors="replace"), log.name
    finally:
        lab.down()


def _typed(line: Line, with_client: Session, capsys: pytest.CaptureFixture[str]) -> int:
    """Run a line over the connection that all of them share; return its exit status."""
    session = Session(
        out=io.StringIO(),
        err=io.StringIO(),
        stdin=io.StringIO(),
        find_config=with_client.find_config,
    )
    session.__dict__["client"] = with_client.client  # as if it had connected before
    status = main.run(line.tool, line.typed, session)
    printed = capsys.readouterr()
    said = f"{session.out.getvalue()}{printed.out}{session.err.getvalue()}{printed.err}"
    assert "nternal error" not in said, f"{line}\n{said}"
    assert "internal_error" not in session.err.getvalue(), f"{line}\n{said}"
    assert status in set(Status), f"{line}\n{said}"
    return status
