"""Small files are there whole, whatever happens while they are replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.durable_file import replace

_CHILD = """
import os, signal, sys
from pathlib import Path
from eventstore import durable_file

path, fatal = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def dying(real):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call
for name in ("open", "fdopen", "fsync"):
    setattr(os, name, dying(getattr(os, name)))
Path.rename = dying(Path.rename)
durable_file.replace(path, b"new" * 1000)
print(calls)
"""


def test_the_file_holds_what_was_written_and_nothing_is_beside_it(tmp_path: Path) -> None:
    """Made where there was none, then replaced by something shorter."""
    path = tmp_path / "settings.json"
    replace(path, b"a long first one")
    replace(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_its_owners_alone_unless_told_otherwise(tmp_path: Path) -> None:
    """A draft that was left over, readable by everybody, lends its mode to nothing."""
    path = tmp_path / "key"
    (tmp_path / "key.new").touch(mode=0o666)
    replace(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    replace(path, b"public", mode=0o444)
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_link_in_the_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    """What it names is not written to."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "file.new").symlink_to(outside)
    replace(tmp_path / "file", b"new")
    assert outside.read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_disk_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether writing or syncing failed; on a full disk the draft's room is wanted."""
    path = tmp_path / "file"
    replace(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.acceptance
def test_a_process_killed_at_any_of_its_steps_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """SIGKILL before each call that it makes; the next one replaces what that left."""

    def ran(path: Path, fatal: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", _CHILD, str(path), str(fatal)]
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    whole = ran(tmp_path / "undisturbed", 0)
    assert whole.returncode == 0, whole.stderr
    seen = set()
    for fatal in range(1, int(whole.stdout) + 1):
        path = tmp_path / str(fatal) / "file"
        path.parent.mkdir()
        replace(path, b"old")
        assert ran(path, fatal).returncode == -9
        seen.add(path.read_bytes())
        replace(path, b"newer")
        assert list(path.parent.iterdir()) == [path]
    assert seen == {b"old", b"new" * 1000}
