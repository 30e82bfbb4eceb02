"""Run our programs and Debian's ganeti-htools on random clusters, and print where they differ.

    python -m tests.tools.htools.differential [--from SEED] [--count N] [--only PROGRAM] [--all]

A tool for a person who changes the engine, too slow for a test. Statuses and standard output are
compared to the last byte, standard error only for being there at all. Left out are differences that
are decided (`docs/placement.md`, "Where Ganeti's htools are wrong") and inputs on which the
original fails by itself; `--all` shows them, too.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from commands.placement.frame import build_frame
from commands.placement.model import LOCAL_TEMPLATES
from commands.placement.state import Placement
from tests.tools.htools.imagined import Imagined, imagine, question, request, text
from tools.htools.text import parse_cluster

ORIGINAL: Final = "/usr/lib/ganeti/3.0/usr/bin/htools"
PROGRAMS: Final = ("hail", "hbal", "hcheck", "hinfo", "hroller", "hspace", "hsqueeze")
LIMIT_S: Final = 20  # of the clock for the original, of CPU for ours

Result = tuple[int, str, str]


def options(rng: random.Random, program: str, made: Imagined, folder: Path) -> list[str]:
    """A random command line for a program, without the data."""

    def some(*choices: str) -> list[str]:
        return [word for word in choices if rng.random() < 0.2]

    node, guest = rng.choice(made.machines), rng.choice(made.guests) if made.guests else None
    offline = [f"-O{node.name}"] if rng.random() < 0.2 else []
    group = [f"-G{rng.choice(made.groups)[0]}"] if len(made.groups) > 1 else []
    save = ["-S", str(folder / "saved")] if rng.random() < 0.3 else []
    loads = _loads(rng, made, folder)
    match program:
        case "hbal" | "hcheck":
            found = some(
                "--no-disk-moves", "--no-instance-moves", "-E", "-g0.5", "--min-gain-limit=1",
                "-e1", f"-l{rng.randint(0, 3)}", "--max-cpu=2", "--min-disk=0.2",
                "--ignore-soft-errors", "--ignore-dynu", "--exclusion-tags=svc",
            )  # fmt: skip
            if guest and rng.random() < 0.2:
                found.append(f"--{rng.choice(['select', 'exclude'])}-instances={guest.name}")
            if program == "hcheck":
                found += some("--machine-readable", "--no-simulation", "--no-capacity-checks")
                return found + offline + loads
            found += some("--restricted-migration", "-C", "-p", "--print-instances", "-v", "-q")
            return found + offline + loads + group + save
        case "hspace":
            found = some(
                "--machine-readable", "--no-capacity-checks", "--independent-groups",
                "--accept-existing-errors", "--max-cpu=2", "--min-disk=0.2",
                "--standard-alloc=2g,1g,1", "--tiered-alloc=64g,8g,8", "--disk-template=plain",
                "--disk-template=ext", "--spindle-use=2", f"-l{rng.randint(1, 9)}", "-p", "-v",
            )  # fmt: skip
            return found + offline + save
        case "hinfo":
            return some("-p", "--print-instances", "-v", "-q", "-pname,pri,peermap") + offline
        case "hroller":
            found = some(
                "--full-evacuation", "--offline-maintenance", "--skip-non-redundant",
                "--ignore-non-redundant", "--one-step-only", "--print-moves", "-f", "--no-headers",
                "--node-tags=power:1,cpu:old",
            )  # fmt: skip
            return found + offline + group + save
        case "hsqueeze":
            return save + some(
                "--minimal-resources=1", "--target-resources=1", "--target-resources=0.5",
                "--minimal-resources=5", "-C", "-v", "--no-headers",
            )  # fmt: skip
        case "hail":
            return save + some(
                "--no-capacity-checks", "--ignore-soft-errors", "-p", "--ignore-dynu",
                f"--restrict-allocation-to={node.name},{made.machines[-1].name}",
            )  # fmt: skip
    raise AssertionError(program)


def _loads(rng: random.Random, made: Imagined, folder: Path) -> list[str]:
    if rng.random() < 0.8:
        return []
    lines = [
        f"{one.name} {rng.random():.3f} {rng.random():.3f} {rng.random():.3f} {rng.random():.3f}\n"
        for one in made.guests
        if rng.random() < 0.7
    ]
    (folder / "loads").write_text("".join(lines))
    return [f"-U{folder / 'loads'}"]


def theirs(program: str, words: list[str]) -> Result | None:
    """What the original says; None if it takes too long."""
    try:
        done = subprocess.run(
            [ORIGINAL, *words],
            env={**os.environ, "HTOOLS": program, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode, done.stdout, done.stderr


def ours(program: str, words: list[str], folder: Path) -> Result:
    """What ours says, from a fork of this process: the interpreter and numpy start only once."""
    out, error = folder / "out", folder / "err"
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 70
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 1))
        try:
            for stream, path in ((sys.stdout, out), (sys.stderr, error)):
                with path.open("w") as file:
                    os.dup2(file.fileno(), stream.fileno())
            from tools.htools.main import run

            status = run(program, words)
            sys.stdout.flush()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(status)
    _, code = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(code), out.read_text(), error.read_text()


def saved(folder: Path) -> str:
    """The files that `-S` made, one after the other; they are taken away."""
    found = []
    for path in sorted(folder.glob("saved*")):
        found.append(f"--- {path.name}\n{path.read_text()}")
        path.unlink()
    return "\n".join(found)


def difference(mine: Result, other: Result) -> str:
    """What a person needs to see of two unequal results; empty if they are equal."""
    if mine[:2] == other[:2] and bool(mine[2]) == bool(other[2]):
        return ""
    lines = difflib.unified_diff(other[1].splitlines(), mine[1].splitlines(), "theirs", "ours", n=1)
    told = [f"status {other[0]} (theirs), {mine[0]} (ours)", *lines]
    return "\n".join(
        [*told[:40], f"stderr of theirs: {other[2][:600]}", f"stderr of ours: {mine[2][:1500]}"]
    )


def decided(program: str, made: Imagined, words: list[str], mine: Result, other: Result) -> bool:
    """Whether a difference is meant to be there."""
    if "CallStack" in other[2] or "internal inconsistency" in other[2]:
        return True
    if program in {"hbal", "hcheck"} and _on_the_edge(made):
        return True
    if program == "hcheck":
        healthy = re.search("No need to reb|INIT_CLUSTER_NEED_REBALANCE=0", mine[1]) is not None
        sick_by_nodes = healthy and _only_offline_nodes(other)
        return sick_by_nodes or (healthy and other[0] == 1) or _without(mine) == _without(other)
    if program == "hail":
        several = "instances failed to allocate" in mine[1] or _takes_a_number(_read(words[0]))
        where_to = "no groups for evacuation" in other[1]
        return several or where_to or ("exclusive" in made.traits and '"ext"' in _read(words[0]))
    if program == "hsqueeze":  # groups with and without exclusive storage are balanced as one
        return "exclusive" in made.traits and any(one.spindles is None for one in made.guests)
    if program == "hroller" and "--full-evacuation" in words:
        return "Failed to migrate" in other[2] or _moved(mine) == _moved(other)
    if program == "hspace":
        return "exclusive" in made.traits and _template(made, words) not in LOCAL_TEMPLATES
    return False


def _takes_a_number(request: str) -> bool:
    """Whether the original gives a new instance the number of one that is there.

    In a named group the next number is the count of the group's instances, yet these keep the
    numbers that they have in the cluster. For the test of N+1 one of them is gone then.
    """
    record = json.loads(request)
    uuids = {one["name"]: uuid for uuid, one in record["nodegroups"].items()}
    group = uuids.get(record["request"].get("group_name"))
    inside = [
        number
        for number, one in enumerate(record["instances"].values())
        if record["nodes"][one["nodes"][0]]["group"] == group
    ]
    return len(inside) in inside


_DECIDED: Final = re.compile(
    r"secondary node offline|OFFLINE_SEC|FINAL_CLUSTER_NEED_REB|not healthy"
)

#: A count of hcheck that is not zero, for a person or for a program.
_FAULT: Final = re.compile(
    r"^(?:    (?:Nodes|Instances) .*: |HCHECK_INIT_CLUSTER_(?!NEED)\w+=)[1-9]", re.MULTILINE
)


def _on_the_edge(made: Imagined) -> bool:
    """Whether some node has just the memory that it must keep, which once was enough."""
    state = Placement(build_frame(parse_cluster(text(made))))
    return bool(((state.unallocated == state.reserve) & ~state.frame.offline).any())


def _template(made: Imagined, words: list[str]) -> str:
    """The disk template that hspace fills a cluster with."""
    named = [word.partition("=")[2] for word in words if word.startswith("--disk-template=")]
    return str([*made.policies[0]["disk-templates"][:1], *named][-1])


def _only_offline_nodes(result: Result) -> bool:
    """Whether hcheck calls a cluster sick for nothing but its offline nodes."""
    return _FAULT.search("\n".join(_without(result))) is None


def _moved(result: Result) -> list[str]:
    """What hroller says, its moves without the nodes that the original mixes up."""
    return [re.sub(r"^(  \S+) .*", r"\1", line) for line in result[1].splitlines()]


def _without(result: Result) -> list[str]:
    return [line for line in result[1].splitlines() if not _DECIDED.search(line)]


def _read(path: str) -> str:
    return Path(path).read_text()


def compare(seed: int, program: str, folder: Path, *, everything: bool) -> str:
    """Run one program on the cluster of a seed; return the difference, with how to repeat it."""
    made = imagine(seed)
    rng = random.Random(f"{seed} {program}")
    words = options(rng, program, made, folder)
    if program == "hail":
        path = folder / f"{seed}.json"
        path.write_text(request(made, question(rng, made)))
        words = [str(path), *words]
    else:
        path = folder / f"{seed}.data"
        path.write_text(text(made))
        words = ["-t", str(path), *words]
    other = theirs(program, words)
    their_files = saved(folder)
    if other is None:
        return ""
    extra = ["--compat"] if program == "hbal" else []
    mine = ours(program, [*words, *extra], folder)
    our_files = saved(folder)
    mine = (mine[0], mine[1] + our_files, mine[2])
    other = (other[0], other[1] + their_files, other[2])
    if not everything and decided(program, made, words, mine, other):
        return ""
    found = difference(mine, other)
    traits = " ".join(sorted(made.traits))
    return f"{program} {' '.join(words)}\n({traits})\n{found}\n" if found else ""


def main() -> None:
    """Compare, and end with status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="SEED")
    parser.add_argument("--count", type=int, default=100, metavar="N")
    parser.add_argument("--only", choices=PROGRAMS, help="one program instead of all")
    parser.add_argument("--keep", type=Path, help="keep the inputs in this directory")
    parser.add_argument("--all", action="store_true", help="also what is decided to differ")
    given = parser.parse_args()
    if not os.access(ORIGINAL, os.X_OK):
        sys.exit(f"{ORIGINAL} is absent: install ganeti-htools")
    import numpy  # noqa: F401  # once, before the forks

    differing = 0
    programs = [given.only] if given.only else list(PROGRAMS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        for seed in range(given.first, given.first + given.count):
            for program in programs:
                found = compare(seed, program, folder, everything=given.all)
                if found:
                    differing += 1
                    print(f"=== seed {seed}: {found}", flush=True)
    print(f"{given.count} clusters, {len(programs)} programs: {differing} differences")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
