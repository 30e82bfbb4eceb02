"""Compare the placement programs with Debian's ganeti-htools, side by side, on one machine.

    python -m tests.bench.placement [--quick] [--limit SECONDS] [--repeat N] [--only WORD]

Clusters are synthetic and seeded: DRBD only, heterogeneous nodes and instances, fuller at one end.
Figures are CPU seconds of the whole process (start of the interpreter and imports included) and its
peak resident memory, medians of the repeats. Where the original is not installed its columns say
"absent"; a run that exceeds the limit is cut and its ratio is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORIGINAL = "/usr/lib/ganeti/3.0/usr/bin/htools"
SIZES = ((20, 200), (80, 1000), (200, 4000), (400, 10_000))
LOW = {"memory-size": 128, "cpu-count": 1, "disk-size": 1024, "disk-count": 1}
HIGH = {"memory-size": 32768, "cpu-count": 8, "disk-size": 1048576, "disk-count": 16}
STANDARD = {"memory-size": 128, "cpu-count": 1, "disk-size": 1024, "disk-count": 1}


def policy_line() -> str:
    """The policy of the synthetic clusters, as text."""

    def spec(sizes: dict[str, int], nics: int, spindles: int) -> str:
        order = ("memory-size", "cpu-count", "disk-size", "disk-count")
        return ",".join(map(str, [*(sizes[key] for key in order), nics, spindles]))

    bounds = f"{spec(LOW, 1, 1)};{spec(HIGH, 8, 12)}"
    return f"|{spec(STANDARD, 1, 1)}|{bounds}|drbd,plain,diskless|4.0|32.0"


def synthetic(nodes: int, instances: int, seed: int) -> str:
    """A cluster in the text format; the same arguments give the same text."""
    rng = random.Random(seed)
    count = instances / nodes
    memory = [int(rng.choice([1.0, 1.25, 1.75]) * count * 5120) + 8192 for _ in range(nodes)]
    disk = [int(rng.choice([1.0, 1.5, 2.0]) * count * 163840) + 262144 for _ in range(nodes)]
    cpus = [int(rng.choice([1.0, 1.5]) * count * 3.2) + 4 for _ in range(nodes)]
    used, stored = [0] * nodes, [0] * nodes
    lines = []
    for number in range(instances):
        size = rng.choice([512, 1024, 2048, 3072, 4096])
        space = rng.choice([10240, 20480, 51200, 102400])
        while True:
            # The smaller of two draws: the first nodes are fuller.
            primary, secondary = min(rng.sample(range(nodes), 2)), rng.randrange(nodes)
            room = used[primary] + size < 0.6 * memory[primary]
            full = (
                stored[primary] > 0.8 * disk[primary] or stored[secondary] > 0.8 * disk[secondary]
            )
            if primary != secondary and room and not full:
                break
        used[primary] += size
        stored[primary] += space
        stored[secondary] += space
        vcpus = rng.choice([1, 2, 2, 4])
        lines.append(
            f"inst{number:05d}|{size}|{space}|{vcpus}|running|Y|node{primary:03d}"
            f"|node{secondary:03d}|drbd||1|-|N"
        )
    rows = [
        f"node{n:03d}|{memory[n]}|1024|{memory[n] - 1024 - used[n]}|{disk[n]}"
        f"|{disk[n] - stored[n]}|{cpus[n]}|{'M' if n == 0 else 'N'}|uuid-0|12||N|0|1|1.0"
        for n in range(nodes)
    ]
    group = "group0|uuid-0|preferred||"
    return "\n\n".join([group, "\n".join(rows), "\n".join(lines)]) + f"\n\n\n{policy_line()}\n"


def request(text: str) -> str:
    """A request to place one DRBD instance on a synthetic cluster."""
    _, nodes, instances, *_ = text.split("\n\n")
    extra = {"nic-count": 1, "spindle-use": 1}
    high = {**HIGH, "nic-count": 8, "spindle-use": 12}
    policy = {
        "std": {**STANDARD, **extra},
        "minmax": [{"min": {**LOW, **extra}, "max": high}],
        "disk-templates": ["drbd", "plain"],
        "vcpu-ratio": 4.0,
        "spindle-ratio": 32.0,
    }
    return json.dumps(
        {
            "version": 2,
            "cluster_name": "synthetic",
            "cluster_tags": [],
            "enabled_hypervisors": ["xen-pvm"],
            "ipolicy": policy,
            "nodegroups": {
                "uuid-0": {
                    "name": "group0",
                    "alloc_policy": "preferred",
                    "networks": [],
                    "ipolicy": policy,
                    "tags": [],
                }
            },
            "nodes": dict(map(_node, nodes.split("\n"))),
            "instances": dict(map(_instance, instances.strip().split("\n"))),
            "request": {
                "type": "allocate",
                "name": "new",
                "disk_template": "drbd",
                "group_name": None,
                "tags": [],
                "os": "noop",
                "vcpus": 2,
                "memory": 2048,
                "spindle_use": 1,
                "disks": [{"size": 20480, "mode": "rw"}],
                "disk_space_total": 20608,
                "nics": [],
                "required_nodes": 2,
                "hypervisor": "xen-pvm",
            },
        }
    )


def _node(line: str) -> tuple[str, dict[str, object]]:
    cells = line.split("|")
    values = map(int, cells[1:7])
    names = (
        "total_memory",
        "reserved_memory",
        "free_memory",
        "total_disk",
        "free_disk",
        "total_cpus",
    )
    return cells[0], {
        **dict(zip(names, values, strict=True)),
        "tags": [],
        "offline": False,
        "drained": False,
        "group": "uuid-0",
        "vm_capable": True,
        "ndparams": {"spindle_count": 12, "exclusive_storage": False},
        "total_spindles": 0,
        "free_spindles": 0,
        "reserved_cpus": 1,
    }


def _instance(line: str) -> tuple[str, dict[str, object]]:
    cells = line.split("|")
    return cells[0], {
        "tags": [],
        "admin_state": "up",
        "vcpus": int(cells[3]),
        "memory": int(cells[1]),
        "spindle_use": 1,
        "os": "noop",
        "nodes": [cells[6], cells[7]],
        "nics": [{"mac": "aa:00:00:00:00:01", "ip": None, "mode": "bridged", "link": "br0"}],
        "disks": [{"dev_type": "drbd", "size": int(cells[2]) - 128, "mode": "rw"}],
        "disk_template": "drbd",
        "disks_active": True,
        "hypervisor": "xen-pvm",
        "disk_space_total": int(cells[2]),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """What one process used, and what it said."""

    cpu_s: float
    peak_mib: float
    out: str
    cut: bool


#: Runs a command and prints what it used. A process of its own, because the peak of a child starts
#: from the memory of the process that forked it; this one is smaller than anything measured here.
_MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
sys.stderr.write(f"{pid}\\n"); sys.stderr.flush()
_, status, used = os.wait4(pid, 0)
sys.stderr.write(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}\\n")
"""


def run(argv: list[str], env: dict[str, str], limit_s: float) -> Run:
    """Run a process; kill it once it has lasted too long."""
    measure = [sys.executable, "-I", "-S", "-c", _MEASURE, *argv]
    with (
        tempfile.TemporaryFile() as out,
        subprocess.Popen(
            measure, env=env, stdout=out, stderr=subprocess.PIPE, cwd=ROOT, text=True
        ) as process,
    ):
        assert process.stderr is not None
        pid = int(process.stderr.readline())
        cut = threading.Event()

        def end() -> None:
            cut.set()
            os.kill(pid, signal.SIGKILL)

        timer = threading.Timer(limit_s, end)
        timer.start()
        last = process.stderr.read().splitlines()[-1]
        timer.cancel()
        out.seek(0)
        text = out.read().decode()
    cpu, peak = map(float, last.split())
    return Run(cpu, peak / 1024, text, cut.is_set())


def ours(program: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Our program as a process."""
    argv = [sys.executable, "-m", "tools.htools.main", program, *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # As installed: modules are compiled once, not at every start.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = os.path.join(tempfile.gettempdir(), "placement-bench-pycache")
    return argv, env


def theirs(program: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """The original as a process."""
    return [ORIGINAL, *words], {**os.environ, "HTOOLS": program}


def median(runs: list[Run]) -> Run:
    """The run with the median CPU time."""
    middle = statistics.median_low([one.cpu_s for one in runs])
    return next(one for one in runs if one.cpu_s == middle)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    title: str
    program: str
    words: tuple[str, ...]
    compat: tuple[str, ...] = ()  # added to ours alone
    compare: bool = True  # whether to run the original at all


def cases(quick: bool) -> list[Case]:
    """All comparisons, smallest first."""
    found = []
    for nodes, instances in SIZES[:2] if quick else SIZES:
        size = f"{nodes}x{instances}"
        small = nodes <= 80
        found += [
            Case(f"hbal one step {size}", "hbal", ("-t", size, "-l", "1"), ("--compat",), small),
            Case(f"hbal plan, compat {size}", "hbal", ("-t", size), ("--compat",), nodes == 20),
            Case(f"hbal plan, default {size}", "hbal", ("-t", size), (), False),
            Case(f"hail allocate {size}", "hail", (f"{size}.json",)),
            Case(f"hcheck {size}", "hcheck", ("-t", size, "--no-simulation")),
        ]
        if small:
            machine = ("-t", size, "--machine-readable")
            found.append(Case(f"hspace {size}", "hspace", machine))
            found.append(
                Case(f"hbal search {size}", "hbal", ("-t", size), ("--algorithm=search",), False)
            )
        if nodes > 80:
            found = [case for case in found if case.title != f"hbal plan, compat {size}"]
    return found


def verdict(case: Case, mine: Run, other: Run | None) -> str:
    """Whether both said the same, or what ours said."""
    if other is not None and not other.cut:
        return "same output" if mine.out == other.out else "OUTPUT DIFFERS"
    if other is not None and case.program == "hbal":
        # What a cut run printed must be the beginning of ours, but for its last, torn line.
        begun = other.out.rsplit("\n", 1)[0]
        return "same so far" if mine.out.startswith(begun) else "OUTPUT DIFFERS"
    found = re.search(r"improved from (\S+) to (\S+)\nSolution length=(\d+)", mine.out)
    if found:
        changed = len(set(re.findall(r"^ +\d+\. (\S+)", mine.out, re.MULTILINE)))
        return f"{found[1]} -> {found[2]}, {found[3]} moves, {changed} instances"
    return ""


def main() -> None:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes only")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one run")
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the median counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only cases whose title holds this word")
    given = parser.parse_args()
    present = os.access(ORIGINAL, os.X_OK) or shutil.which("htools") is not None
    print("| case | ours CPU s | peak MiB | original CPU s | peak MiB | ratio | result |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for nodes, instances in SIZES[:2] if given.quick else SIZES:
            text = synthetic(nodes, instances, given.seed)
            path = Path(folder) / f"{nodes}x{instances}"
            path.write_text(text)
            path.with_suffix(".json").write_text(request(text))
        for case in cases(given.quick):
            if given.only not in case.title:
                continue
            words = [
                str(Path(folder) / word) if re.fullmatch(r"\d+x\d+(\.json)?", word) else word
                for word in case.words
            ]
            compare = case.compare and present
            _line(case, words, compare, "absent" if case.compare else "not run", given)
    if not present:
        print(f"\nThe original is absent ({ORIGINAL}): install ganeti-htools.")


def _line(
    case: Case, words: list[str], compare: bool, missing: str, given: argparse.Namespace
) -> None:
    argv, env = ours(case.program, *words, *case.compat)
    run([*argv[:4], "--help"], env, given.limit)  # compiles what is not compiled yet
    mine = median([run(argv, env, given.limit) for _ in range(given.repeat)])
    other = None
    if compare:
        argv, env = theirs(case.program, *words)
        other = run(argv, env, given.limit)
    if other is None:
        columns = [missing, "", ""]
    else:
        mark = "> " if other.cut else ""
        columns = [
            f"{mark}{other.cpu_s:.2f}",
            f"{other.peak_mib:.0f}",
            f"{mark}{other.cpu_s / mine.cpu_s:.1f}",
        ]
    cells = [case.title, f"{mine.cpu_s:.2f}", f"{mine.peak_mib:.0f}", *columns]
    cells.append("CUT" if mine.cut else verdict(case, mine, other))
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
