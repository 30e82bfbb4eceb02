"""hcheck: is the cluster healthy, and would a rebalance help?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from commands.placement import metrics
from commands.placement.balance import balance
from commands.placement.frame import Ints
from commands.placement.metrics import bad_items, group_scope
from commands.placement.redundancy import evacuable
from commands.placement.state import Placement
from tools.htools import report
from tools.htools.choices import Choices
from tools.htools.figures import fixed
from tools.htools.hspace import keys
from tools.htools.load import Loaded, load

_COUNTS = (
    ("N1_FAIL", "Nodes not N+1 happy"),
    ("CONFLICT_TAGS", "Nodes with conflicting instances"),
    ("OFFLINE_PRI", "Instances having the primary node offline"),
    ("OFFLINE_SEC", "Instances having a secondary node offline"),
    ("GN1_FAIL", "Nodes not directly evacuateable"),
)
_PHASES = {"INIT": "initially", "FINAL": "after rebalancing"}


@dataclass(frozen=True, slots=True)
class Health:
    """What was counted in one group."""

    group: int
    counts: tuple[int, ...]
    score: float


def main(choices: Choices) -> int:
    """Run hcheck: 1 if a rebalance is needed (and was not just looked for), else 0."""
    report.no_arguments(choices)
    loaded = load(choices)
    report.show_warnings(loaded, choices)
    machine = choices.machine_readable
    base = loaded.cluster.first_index
    if machine:
        uuids = enumerate(group.uuid for group in loaded.cluster.groups)
        _print_keys([(f"GROUP_UUID_{number + base}", uuid) for number, uuid in uuids])
    before = _check(loaded, choices)
    needed = _sick(before)
    if not machine and choices.verbose >= 1:
        print(_headline(choices, needed))
    _print(loaded, choices, "INIT", before)
    simulate = choices.simulate_balance and needed
    if simulate:
        _rebalance(loaded, choices)
    if simulate or machine:
        _print(loaded, choices, "FINAL", _check(loaded, choices))
    if machine:
        _print_keys([("OK", "1")])
    return 1 if simulate else 0


def _headline(choices: Choices, needed: bool) -> str:
    if not choices.simulate_balance:
        return "Running in no-simulation mode."
    if needed:
        return "Cluster needs rebalancing."
    return "No need to rebalance cluster, no problems found."


def _print_keys(pairs: Sequence[tuple[str, str]]) -> None:
    keys(pairs, "HCHECK")


def _scopes(loaded: Loaded) -> list[tuple[int, Ints]]:
    """The groups that have nodes."""
    placement = loaded.placement
    groups = [int(group) for group in np.unique(placement.frame.group)]
    return [(group, group_scope(placement, group)) for group in groups]


def _check(loaded: Loaded, choices: Choices) -> list[Health]:
    return [
        Health(
            group,
            _counts(loaded.placement, scope, capacity=choices.capacity_checks),
            metrics.score(loaded.placement, scope),
        )
        for group, scope in _scopes(loaded)
    ]


def _counts(placement: Placement, scope: Ints, *, capacity: bool) -> tuple[int, ...]:
    offline = scope[placement.frame.offline[scope]]
    bad, _ = bad_items(placement, scope)
    found = [
        len(bad),
        int(np.count_nonzero(metrics.conflicts(placement, scope))),
        int(placement.primary_count[offline].sum()),
        int(placement.secondary_count[offline].sum()),
    ]
    if capacity:
        found.append(int(np.count_nonzero(~evacuable(placement, scope))))
    return tuple(found)


def _total(found: list[Health]) -> list[int]:
    return [sum(column) for column in zip(*(one.counts for one in found), strict=True)]


def _sick(found: list[Health]) -> bool:
    return sum(_total(found)) > 0


def _rebalance(loaded: Loaded, choices: Choices) -> None:
    """Balance every group, silently."""
    for _, scope in _scopes(loaded):
        placement = loaded.placement
        stop_at = choices.min_score + metrics.lower_bound(placement, scope)
        if metrics.score(placement, scope) < stop_at:
            continue
        steps = balance(
            placement,
            scope,
            report.algorithm_options(choices),
            max_steps=choices.max_length,
            stop_at=stop_at,
        )
        for _ in steps:
            pass


def _print(loaded: Loaded, choices: Choices, phase: str, found: list[Health]) -> None:
    total = _total(found) if found else [0] * (5 if choices.capacity_checks else 4)
    sick = sum(total) > 0
    base = loaded.cluster.first_index
    if choices.machine_readable:
        names = [name for name, _ in _COUNTS]
        for one in found:
            start = f"{phase}_GROUP_{one.group + base}"
            pairs = zip(names, map(str, one.counts), strict=False)
            _print_keys([(f"{start}_{name}", value) for name, value in pairs])
            _print_keys([(f"{start}_SCORE", fixed(one.score, 8))])
        pairs = zip(names, map(str, total), strict=False)
        _print_keys([(f"{phase}_CLUSTER_{name}", value) for name, value in pairs])
        _print_keys([(f"{phase}_CLUSTER_NEED_REBALANCE", "1" if sick else "0")])
        return
    if choices.verbose < 1:
        return
    for one in found:
        name = loaded.cluster.groups[one.group].name
        print(f"\nStatistics for group {name} {_PHASES[phase]}")
        _print_counts(one.counts)
        print(f"    Group score: {fixed(one.score, 8)}")
    print(f"\nCluster statistics {_PHASES[phase]}")
    _print_counts(total)
    print(f"    Cluster is not healthy: {sick}")


def _print_counts(counts: Sequence[int]) -> None:
    for (_, text), count in zip(_COUNTS, counts, strict=False):
        print(f"    {text}: {count}")
