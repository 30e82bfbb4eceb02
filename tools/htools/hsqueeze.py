"""hsqueeze: powers nodes down and up, so that free resources stay in a given range."""

from __future__ import annotations

from commands.placement.labels import STANDBY_AUTO
from commands.placement.squeezing import (
    Switched,
    has_room,
    off_candidates,
    on_candidates,
    sample,
    switch,
    to_switch_off,
    to_switch_on,
)
from tools.htools import report
from tools.htools.choices import Choices
from tools.htools.errors import HtoolsError
from tools.htools.load import Loaded, load
from tools.htools.text import cluster_text


def main(choices: Choices) -> int:
    """Run hsqueeze; return its exit status."""
    report.no_arguments(choices)
    loaded = load(choices)
    report.show_warnings(loaded, choices)
    placement = loaded.placement
    report.save_cluster(loaded, choices, "original", "before hsqueeze run", placement)
    off, on = off_candidates(placement), on_candidates(placement)
    if choices.verbose > 1:
        print(f"Offline candidates: {_names(loaded, off)}")
        print(f"Online candidates: {_names(loaded, on)}")
    standard = loaded.cluster.policy.standard
    minimal = sample(standard, choices.minimal_resources)
    if not has_room(placement, minimal):
        _expand(loaded, choices, on, to_switch_on(placement, on, minimal))
        return 0
    target = sample(standard, choices.target_resources)
    chosen = to_switch_off(placement, off, target)
    if chosen:
        _condense(loaded, choices, chosen)
        return 0
    if not choices.no_headers:
        print("'No action'")
    report.save_commands(choices, "Commands to run:", "echo Nothing to do")
    _save(loaded, choices, Switched(placement, ()), "after hsqueeze doing nothing")
    return 0


def _names(loaded: Loaded, nodes: list[int]) -> str:
    return ",".join(loaded.placement.frame.names[node] for node in nodes)


def _list(loaded: Loaded, choices: Choices, title: str, nodes: list[int]) -> None:
    if not choices.no_headers:
        print(f"'{title}'")
    for node in nodes:
        print(loaded.placement.frame.names[node])


def _aliases(loaded: Loaded, nodes: list[int]) -> list[str]:
    return [loaded.alias(loaded.placement.frame.names[node]) for node in nodes]


def _jobs(loaded: Loaded, found: Switched) -> str:
    steps = list(found.steps)
    sets = report.job_commands(loaded, loaded.placement, steps, full_names=True)
    return report.format_jobs(sets)


def _expand(
    loaded: Loaded, choices: Choices, candidates: list[int], enough: list[int] | None
) -> None:
    nodes = candidates if enough is None else enough
    _list(loaded, choices, "Nodes to online", nodes)
    if choices.verbose > 1 and enough is None:
        print("Onlining all nodes will not yield enough capacity")
    found = switch(loaded.placement, nodes, offline=False)
    power = "".join(f"  gnt-node power -f on {name}\n" for name in _aliases(loaded, nodes))
    text = f"echo Power Commands\n{power}{_jobs(loaded, found)}"
    report.save_commands(choices, "Commands to run:", text)
    _refuse_execution(choices)
    _save(loaded, choices, found, "after hsqueeze expansion")


def _condense(loaded: Loaded, choices: Choices, nodes: list[int]) -> None:
    _list(loaded, choices, "Nodes to offline", nodes)
    found = switch(loaded.placement, nodes, offline=True)
    names = _aliases(loaded, nodes)
    tags = "".join(f"  gnt-node add-tags {name} {STANDBY_AUTO}\n" for name in names)
    power = "".join(f"  gnt-node power -f off {name}\n" for name in names)
    text = f"{_jobs(loaded, found)}\necho Tagging Commands\n{tags}\necho Power Commands\n{power}"
    report.save_commands(choices, "Commands to run:", text)
    _refuse_execution(choices)
    _save(loaded, choices, found, "after hsqueeze run")


def _refuse_execution(choices: Choices) -> None:
    if choices.execute:
        raise HtoolsError("hsqueeze: Execution of commands possible only on LUXI")


def _save(loaded: Loaded, choices: Choices, found: Switched, what: str) -> None:
    if choices.save is None:
        return
    offline = found.placement.frame.offline
    text = cluster_text(loaded.cluster, found.placement, offline=lambda node: bool(offline[node]))
    report.save_text(choices, "squeezed", what, text)
