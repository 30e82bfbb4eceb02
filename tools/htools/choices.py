"""What a command line can say, and the reading of its values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from commands.placement.model import LARGEST


@dataclass(slots=True)
class Choices:
    """What a command line says, with Ganeti's defaults."""

    data_file: str | None = None
    master: str = ""
    luxi: str | None = None
    allocator_file: str | None = None
    simulations: list[str] = field(default_factory=list)
    dynamic_file: str | None = None
    ignore_dynamic: bool = False
    mond: bool = False
    mond_file: str | None = None
    mond_xen: bool = False
    mond_exit_missing: bool = False
    static_kvm_memory: int = 4096
    group: str | None = None
    offline: list[str] = field(default_factory=list)
    show_nodes: list[str] | None = None
    show_instances: bool = False
    commands: str | None = None
    save: str | None = None
    verbose: int = 1
    execute: bool = False
    first_job_group: bool = False
    priority: str | None = None
    reason: str | None = None
    max_length: int = -1
    min_score: float = 1e-9
    min_gain: float = 0.01
    min_gain_limit: float = 0.1
    max_cpu: float | None = None
    min_disk: float = 0.0
    disk_moves: bool = True
    instance_moves: bool = True
    evacuation: bool = False
    restricted_migration: bool = False
    selected: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    exclusion_tags: list[str] = field(default_factory=list)
    ignore_soft_errors: bool = False
    capacity_checks: bool = True
    restrict_to: list[str] | None = None
    disk_template: str | None = None
    spindle_use: int | None = None
    standard_spec: tuple[int, int, int, int] | None = None  # disk, memory, cpus, spindles
    tiered_spec: tuple[int, int, int, int] | None = None
    independent_groups: bool = False
    accept_existing: bool = False
    machine_readable: bool = False
    simulate_balance: bool = True
    node_tags: list[str] | None = None
    offline_maintenance: bool = False
    print_moves: bool = False
    full_evacuation: bool = False
    skip_non_redundant: bool = False
    ignore_non_redundant: bool = False
    one_step_only: bool = False
    force: bool = False
    no_headers: bool = False
    minimal_resources: float = 2.0
    target_resources: float = 2.0
    output_dir: str = "."
    algorithm: str = "auto"
    effort_s: float | None = None  # None: as much as suits the size
    schedule: bool = False
    explain: str | None = None
    plot: str | None = None
    advice: bool = False
    arguments: list[str] = field(default_factory=list)


class BadValue(Exception):
    """A value of an option that cannot be used."""


def integer(text: str, what: str) -> int:
    """A whole number, or BadValue in the words of the original."""
    return int(_parsed(text, what, r" *-?\d+"))


def real(text: str, what: str) -> float:
    """A number, or BadValue in the words of the original."""
    return float(_parsed(text, what, r" *-?\d+(\.\d+)?([eE][-+]?\d+)?"))


def _parsed(text: str, what: str, pattern: str) -> str:
    found = re.match(pattern, text, re.ASCII)
    if found is None:
        raise BadValue(f"{what}: cannot parse string '{text}'")
    if text[found.end() :].strip(" "):
        rest = text[found.end() :]
        raise BadValue(f"{what}: leftover characters when parsing '{text}': '{rest}'")
    if abs(float(found.group())) > LARGEST:
        raise BadValue(f"{what}: value '{text}' is out of range")
    return found.group()


#: Factors to MiB as fractions: lower case and *iB are binary, upper case and *B decimal.
_UNITS: Final[dict[str, tuple[int, int]]] = {
    "m": (1, 1),
    "g": (1024, 1),
    "t": (1024**2, 1),
    "M": (1000**2, 1024**2),
    "G": (1000**3, 1024**2),
    "T": (1000**4, 1024**2),
}


def parse_unit(text: str, what: str) -> int:
    """A size in MiB: a whole number and perhaps a unit; raises BadValue."""
    found = re.match(r" *(-?\d+) *(.*)", text, re.DOTALL | re.ASCII)
    if found is None:
        raise BadValue(f"{what}: Can't parse string '{text}'")
    unit = found.group(2)
    upper = unit.upper()
    if unit == "":
        factor = _UNITS["m"]
    elif unit in _UNITS:
        factor = _UNITS[unit]
    elif upper in ("MIB", "GIB", "TIB"):
        factor = _UNITS[upper[0].lower()]
    elif upper in ("MB", "GB", "TB"):
        factor = _UNITS[upper[0]]
    else:
        raise BadValue(f"{what}: Unknown unit '{unit}'")
    number, divisor = int(found.group(1)) * factor[0], factor[1]
    size = number // divisor if number >= 0 else -(-number // divisor)
    if abs(size) > LARGEST:
        raise BadValue(f"{what}: value '{text}' is out of range")
    return size
