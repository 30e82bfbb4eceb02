"""The page about exploring the log shows nothing that was not tried."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from projections.events.configuration import InstanceStateSet
from tests.eventstore.storage.test_verify import ADMITTED, SIGN_KEY
from tests.eventstore.storage.test_verify import signed as let_sign
from tests.eventstore.storage_lab import Lab
from tests.projections.log_on_disk import write_log
from tests.projections.stories import Story, uid

PAGE = Path(__file__).parents[2] / "docs" / "exploring-the-log.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
KEY = base64.b64encode(SIGN_KEY).decode()
NEEDS_SHELL = shutil.which("sqlite3") is None


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log of a small cluster, with the index that a master daemon keeps."""
    story = Story()
    story.found(3)
    story.create("web1.example.net", primary=story.nodes[0], secondary=story.nodes[1])
    story.change(
        uid("web1.example.net"),
        InstanceStateSet(instance=uid("web1.example.net"), admin_state="down"),
    )
    log = tmp_path_factory.mktemp("explored") / "log"
    log.mkdir()
    write_log(log, story.log.records)
    return log


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log that a voter wrote, for who checks more than what stands in it."""
    lab = Lab(tmp_path_factory.mktemp("signed") / "log", first=[ADMITTED])
    let_sign(lab, 30)
    return lab.directory


@pytest.mark.acceptance
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_every_command_of_the_page_runs_and_answers(
    directory: Path, signed: Path, block: str
) -> None:
    """Each block, as it stands, exits with 0, prints something and changes nothing."""
    if "verify_" in block:
        directory = signed
    if NEEDS_SHELL and "sqlite3 -" in block:
        pytest.skip("the sqlite3 shell is not installed")
    before = (directory / "log.sqlite").read_bytes()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env={**os.environ, "LOG": str(directory), "KEY": KEY, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr
    assert (directory / "log.sqlite").read_bytes() == before


def test_the_page_has_commands_to_try() -> None:
    """If the pattern found nothing, the test above would pass without a reason."""
    assert len(BLOCKS) >= 15
