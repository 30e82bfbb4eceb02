"""CPU loads as the nodes' monitoring daemons saw them (`--mond`), or a file with their answers.

The daemons answer `http://NODE:1815/1/report/default/COLLECTOR`. A node's load is shared out to its
instances by their virtual CPUs; with `--mond-xen` each instance's own load is known. Either all
nodes answer or the data is not used: half of it would look like an uneven cluster.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from tools.htools.choices import Choices
from tools.htools.errors import DataError, HtoolsError
from tools.htools.json_reader import Record, checked, decode, get
from tools.htools.load import Loaded, read_text

if TYPE_CHECKING:
    from commands.placement.state import Placement

_PORT: Final = 1815
_TIMEOUT_S: Final = 15
_AT_ONCE: Final = 16
_NODE_LOAD, _XEN_LOAD = "cpu-avg-load", "xen-cpu-avg-load"


def apply_loads(loaded: Loaded, choices: Choices) -> None:
    """Take CPU loads into the placement. Raises HtoolsError."""
    collector = _XEN_LOAD if choices.mond_xen else _NODE_LOAD
    reports = _reports(loaded, choices, collector)
    problem = None
    if any(report is None for report in reports.values()):
        problem = f"Didn't receive an answer by all MonDs, {collector}'s data will be ignored."
    else:
        known = {name: report for name, report in reports.items() if report is not None}
        problem = _use(loaded, known, xen=choices.mond_xen)
    if problem is not None:
        print(f"Warning: {problem}", file=sys.stderr)
        if choices.mond_exit_missing:
            raise HtoolsError("Not all required data available")


def _reports(
    loaded: Loaded, choices: Choices, collector: str
) -> Mapping[str, Mapping[str, float] | None]:
    """By node the loads that were reported: of the node as "", or of its instances."""
    names = loaded.placement.frame.names
    if choices.mond_file is None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = pool.map(lambda name: _ask(name, collector), names)
            return dict(zip(names, answers, strict=True))
    try:
        given = _from_file(read_text(choices.mond_file), collector)
    except DataError as problem:
        raise HtoolsError(f"can't parse MonD data: {problem}") from problem
    return {name: given.get(name) for name in names}


def _ask(node: str, collector: str) -> Mapping[str, float] | None:
    url = f"http://{node}:{_PORT}/1/report/default/{collector}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            report = decode(answer.read(), "Parsing MonD's answer")
        return _loads(checked(report, "report", dict, "Parsing MonD's answer"), collector)
    except (urllib.error.URLError, OSError, ValueError, DataError):
        print(f"Warning: Failed to contact node's {node} MonD for DC {collector}", file=sys.stderr)
        return None


def _from_file(text: str, collector: str) -> dict[str, Mapping[str, float] | None]:
    """A list of nodes with their reports. Raises DataError."""
    found: dict[str, Mapping[str, float] | None] = {}
    items = decode(text, "Parsing MonD's answer")
    for item in checked(items, "answer", list, "Parsing MonD's answer"):
        record: Record = checked(item, "node", dict, "Parsing MonD's answer")
        name = get(record, "node", str, "Parsing node's name")
        for one in get(record, "reports", list, "Parsing node's reports"):
            report: Record = checked(one, "reports", dict, "Parsing node's reports")
            if report.get("name") == collector:
                found[name] = _loads(report, collector)
                break
    return found


def _loads(report: Record, collector: str) -> Mapping[str, float] | None:
    """The loads of one report; None if it does not hold them."""
    data = report.get("data")
    if not isinstance(data, dict):
        return None
    if collector == _NODE_LOAD:
        data = {"": data.get("cpu_total")}
    numbers = {
        name: float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return numbers if len(numbers) == len(data) else None


def _use(loaded: Loaded, reports: Mapping[str, Mapping[str, float]], *, xen: bool) -> str | None:
    """Build the placement anew with these loads; return what was missing, if anything was."""
    state = loaded.placement
    items, names = state.instances, state.frame.names
    loads = {inst.name: state.frame.load_of(inst) for inst in items}
    if xen:
        usage = {name: load for report in reports.values() for name, load in report.items()}
        missing = sorted({inst.name for inst in items} - set(usage))
        if missing:
            listed = ",".join(f'"{name}"' for name in missing)
            return f"No CPU information available for [{listed}]"
        for inst in items:
            loads[inst.name] = (usage[inst.name], *loads[inst.name][1:])
    else:
        for index, inst in enumerate(items):
            node = state.primary[index]
            share = inst.vcpus / max(1, int(state.used_cpus[node]))
            loads[inst.name] = (reports[names[node]][""] * share, *loads[inst.name][1:])
    loaded.settings = msgspec.structs.replace(loaded.settings, loads=loads)
    loaded.placement = _rebuilt(loaded)
    if not xen:
        # The node's own share of its load stays where it is.
        loaded.placement.load[:, 0] = [reports[name][""] for name in names]
    return None


def _rebuilt(loaded: Loaded) -> Placement:
    from commands.placement.state import Placement

    frame = replace(loaded.placement.frame, settings=loaded.settings)
    return Placement(frame)
