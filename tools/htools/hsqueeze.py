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
        return _expand(loaded, choices, on, to_switch_on(placement, on, minimal))
    target = sample(standard, choices.target_resources)
    chosen = to_switch_off(placement, off, target)
    if chosen:
        return _condense(loaded, choices, chosen)
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
) -> int:
    nodes = candidates if enough is None else enough
    _list(loaded, choices, "Nodes to online", nodes)
    if choices.verbose > 1 and enough is None:
        print("Onlining all nodes will not yield enough capacity")
    found = switch(loaded.placement, nodes, offline=False)
    power = "".join(f"  gnt-node power -f on {name}\n" for name in _aliases(loaded, nodes))
    text = f"echo Power Commands\n{power}{_jobs(loaded, found)}"
    report.save_commands(choices, "Commands to run:", text)
    if choices.execute:
        _require_cluster(choices)
        listed = ", ".join(_aliases(loaded, nodes)) or "no node"
        raise HtoolsError(
            f"hsqueeze: this version cannot power nodes on: switch on {listed}, then"
            " gnt-node modify --offline=no NODE, and hbal -L -X"
        )
    _save(loaded, choices, found, "after hsqueeze expansion")
    return 0


def _condense(loaded: Loaded, choices: Choices, nodes: list[int]) -> int:
    _list(loaded, choices, "Nodes to offline", nodes)
    found = switch(loaded.placement, nodes, offline=True)
    names = _aliases(loaded, nodes)
    tags = "".join(f"  gnt-node add-tags {name} {STANDBY_AUTO}\n" for name in names)
    power = "".join(f"  gnt-node power -f off {name}\n" for name in names)
    text = f"{_jobs(loaded, found)}\necho Tagging Commands\n{tags}\necho Power Commands\n{power}"
    report.save_commands(choices, "Commands to run:", text)
    if choices.execute:
        _require_cluster(choices)
        _empty(loaded, choices, found, nodes)
    _save(loaded, choices, found, "after hsqueeze run")
    return 0


def _empty(loaded: Loaded, choices: Choices, found: Switched, nodes: list[int]) -> None:
    """Move everything off the nodes, tag them, mark them offline. Raises HtoolsError at the end."""
    from tools.htools.execution import execute

    names = [loaded.placement.frame.names[node] for node in nodes]
    marks: list[dict[str, object]] = []
    for name in names:
        marks.append({"OP_ID": "OP_TAGS_SET", "kind": "node", "name": name, "tags": [STANDBY_AUTO]})
        marks.append({"OP_ID": "OP_NODE_SET_PARAMS", "node_name": name, "offline": True})
    steps = list(found.steps)
    if not execute(choices, loaded.placement, steps, program="hsqueeze", then=marks):
        raise HtoolsError("hsqueeze: stopped; no node is tagged or marked offline yet")
    raise HtoolsError(
        f"hsqueeze: {', '.join(names)}: empty, tagged and offline; this version cannot power nodes"
        " off: switch them off by hand"
    )


def _require_cluster(choices: Choices) -> None:
    if choices.luxi is None:
        raise HtoolsError("hsqueeze: Execution of commands possible only on LUXI")


def _save(loaded: Loaded, choices: Choices, found: Switched, what: str) -> None:
    if choices.save is None:
        return
    offline = found.placement.frame.offline
    text = cluster_text(loaded.cluster, found.placement, offline=lambda node: bool(offline[node]))
    report.save_text(choices, "squeezed", what, text)
