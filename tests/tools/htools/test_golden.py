"""The conformance cases of htools: every command, in order, as a real process.

Later cases read files that earlier ones wrote, so this is one test for all; each difference is
reported with its case. A case's output is compared exactly where the reference run recorded it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "data" / "htools"
CLUSTERS = DATA / "cluster"
ROOT = Path(__file__).parents[3]
PROGRAMS = ("hail", "hbal", "hcheck", "hinfo", "hroller", "hscan", "hspace", "hsqueeze")


def install(folder: Path) -> None:
    """Put the programs where the cases look for them: ./test/hs/NAME."""
    home = folder / "test" / "hs"
    home.mkdir(parents=True)
    for name in PROGRAMS:
        python = shlex.quote(sys.executable)
        script = home / name
        script.write_text(f'#!/bin/sh\nexec {python} -m tools.htools.main {name} "$@"\n')
        script.chmod(0o755)


def prepare(scratch: Path, suite: dict[str, Any]) -> dict[str, str]:
    """Write the generated inputs; return the environment of the cases."""
    scratch.mkdir()
    for name, text in suite["generated_inputs"].items():
        (scratch / name).write_text(text)
    for path in CLUSTERS.glob("hail-*.json"):
        exclusive = path.read_text().replace(
            '"exclusive_storage": false', '"exclusive_storage": true'
        )
        (scratch / f"{path.name}.excl-stor").write_text(exclusive)
        without = re.sub(r'"spindles": \d+,', "", exclusive)
        (scratch / f"{path.name}.fail-excl-stor").write_text(without)
    values = {
        "T": str(scratch),
        "TESTDATA_DIR": str(CLUSTERS),
        "RAPI_URL": f"file://{CLUSTERS}/rapi",
        "PYTHONPATH": str(ROOT),
    }
    for name in ("BACKEND_BAL_STD", "BACKEND_BAL_TIER", "BACKEND_DYNU", "BACKEND_EXCL"):
        values[name] = suite["env"][name].replace("$T", str(scratch))
    return {**os.environ, **values}


def differences(case: dict[str, Any], result: subprocess.CompletedProcess[str], t: str) -> str:
    """What a case gave that the reference did not."""
    wanted = case["ref"]
    found = []
    if result.returncode != wanted["rc"]:
        found.append(f"status {result.returncode} instead of {wanted['rc']}")
    for stream in ("stdout", "stderr"):
        text = getattr(result, stream).replace(t, "$T")
        if stream in wanted and text != wanted[stream]:
            found.append(f"{stream}:\n{text}\ninstead of:\n{wanted[stream]}")
    if "stdout" in wanted and "stderr" not in wanted and result.stderr:
        found.append(f"unexpected on stderr:\n{result.stderr}")
    if "Traceback" in result.stderr:
        found.append(f"a traceback:\n{result.stderr}")
    return "\n".join(found)


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_every_published_case_gives_the_output_of_the_original(tmp_path: Path) -> None:
    """All published cases, run in order, end with the status and output of the reference."""
    suite = json.loads((DATA / "golden.json").read_text())
    environment = prepare(tmp_path / "scratch", suite)
    install(tmp_path / "run")
    failures = []
    for case in suite["cases"]:
        result = subprocess.run(
            ["sh", "-c", case["cmd"]],
            cwd=tmp_path / "run",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        problem = differences(case, result, str(tmp_path / "scratch"))
        if problem:
            failures.append(f"case {case['n']}: {case['cmd']}\n{problem}")
    assert not failures, "\n\n".join(failures)
