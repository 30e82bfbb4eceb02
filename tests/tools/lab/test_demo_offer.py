"""What becomes of the demo's lab when it has played: a person is asked, nobody else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tools.lab import demo
from tools.lab.stage import Stage


def played(stage: Stage) -> None:
    """Play nothing, as it should."""
    (stage.layout.directory / "played").touch()


@pytest.mark.parametrize(
    ("terminal", "typed", "kept"),
    [(True, "y", True), (True, "n", False), (True, "", False), (True, None, False),
     (False, "y", False)],
)  # fmt: skip
def test_a_person_may_keep_the_lab(
    terminal: bool,
    typed: str | None,
    kept: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With y on a terminal; then the line to use it is printed, and the one to remove it."""

    def answer(question: str) -> str:
        assert "Leave the lab running" in question
        if typed is None:
            raise EOFError
        return typed

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "play", played)
    monkeypatch.setattr("builtins.input", answer)
    for stream in (demo.sys.stdin, demo.sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    assert demo.main() == 0
    left = list(tmp_path.iterdir())
    assert bool(left) is kept
    said = capsys.readouterr().out
    assert ("lab env --dir" in said) is ("lab down --dir" in said) is kept
    assert not kept or str(left[0]) in said
