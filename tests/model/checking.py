"""One run of spin: make the checker of a scenario, let it look at every state (edge)."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MODEL_DIR = Path(__file__).resolve().parents[2] / "docs" / "model"
MODEL, SCENARIOS = MODEL_DIR / "replication.pml", MODEL_DIR / "scenarios.txt"
_DEPTH = 1_000_000  # of a search; the deepest seen is a few hundred steps
_MEMORY_MB = 8000
_SMALL = {"PIECES": "0", "RUMOURS": "0"}  # what makes a scenario small enough for every test run


@dataclass(frozen=True, slots=True)
class Scenario:
    """Bounds within which the model is checked, and the rules without which it fails there."""

    name: str
    bounds: dict[str, str]
    rules: tuple[str, ...]
    size: str  # "" is searched in small bounds in every test run, "+" wholly, "-" and "!" not

    @property
    def small(self) -> dict[str, str]:
        """Bounds for every test run."""
        return self.bounds if self.size == "+" else {**self.bounds, **_SMALL}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search saw: how many states, all of them or not, and what was violated."""

    states: int
    complete: bool
    violated: str


def scenarios() -> list[Scenario]:
    """Return what scenarios.txt says."""
    found = []
    for line in SCENARIOS.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, bounds, rules = (part.strip() for part in line.split("|"))
        found.append(
            Scenario(
                name.lstrip("!+- "),
                dict(bound.split("=") for bound in bounds.split()),
                tuple(rules.split()),
                name[0] if name[0] in "!+-" else "",
            )
        )
    return found


def missing_tools() -> list[str]:
    """Return the programs that are not installed."""
    return [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


def search(
    bounds: dict[str, str], directory: Path, *, without: str = "", within_s: float = 3600.0
) -> Found:
    """Look at every state within the bounds, the model without one rule if it is named.

    The checker is made in `directory`, and leaves its trail there if an assertion is violated.
    """
    defines = [f"-D{name}={value}" for name, value in bounds.items()]
    if without:
        defines.append(f"-DNO_{without}")
    _run(["spin", "-a", *defines, str(MODEL)], directory, within_s)
    options = ["-O2", "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={_MEMORY_MB}"]
    _run(["gcc", *options, "-o", "pan", "pan.c"], directory, within_s)
    told = _run(["./pan", f"-m{_DEPTH}", "-w22"], directory, within_s)
    states = re.search(r"(\d+) states, stored", told)
    assert states is not None, told
    violated = re.search(r"pan:1: (.*) \(at depth", told)
    complete = "errors: 0" in told and "Search not completed" not in told
    return Found(
        int(states[1]),
        complete and "error: max search" not in told,
        violated[1] if violated else "",
    )


def _run(command: list[str], directory: Path, within_s: float) -> str:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=within_s
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)}\n{told}"
    return told
