"""hinfo: what is on a cluster, and how well it is balanced."""

from __future__ import annotations

import sys

import numpy as np

from commands.placement import metrics
from commands.placement.allocate import all_nodes
from commands.placement.metrics import bad_items, group_scope
from tools.htools import listing, records, report
from tools.htools.choices import Choices
from tools.htools.figures import fixed
from tools.htools.hbal import split_instances
from tools.htools.load import Loaded, add_seen_loads, load
from tools.htools.tables import table


def main(choices: Choices) -> int:
    """Run hinfo; return its exit status."""
    report.no_arguments(choices)
    loaded = load(choices)
    add_seen_loads(loaded, choices)
    report.show_warnings(loaded, choices)
    placement, verbose = loaded.placement, choices.verbose
    print(f"Loaded cluster tags: {','.join(loaded.cluster.tags)}")
    if verbose > 2:
        print(f"Loaded cluster ipolicy: {records.policy_text(loaded.cluster.policy)}")
    _introduce(loaded, verbose)
    _show_groups(loaded, verbose)
    nodes = all_nodes(placement)
    if choices.show_instances:
        everything = range(len(placement.instances))
        listing.show_instances(loaded, placement, everything, "Instances")
    listing.show_nodes(loaded, placement, nodes, choices.show_nodes, "Cluster")
    print("Cluster coefficients:")
    print(listing.statistics_table("  ", placement, nodes), end="")
    print(f"Cluster score: {fixed(metrics.score(placement, nodes), 8)}")
    return 0


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _introduce(loaded: Loaded, verbose: int) -> None:
    cluster, placement = loaded.cluster, loaded.placement
    if not placement.instances and verbose > 1:
        print("Cluster is empty.")
    sizes = (
        _plural(len(cluster.nodes), "node"),
        _plural(len(cluster.instances), "instance"),
        _plural(len(cluster.groups), "node group"),
    )
    print(f"Loaded {', '.join(sizes)}")
    if loaded.domain and verbose > 2:
        print(f"Note: Stripping common suffix of '{loaded.domain}' from names")
    split = split_instances(placement)
    if split:
        print("Found instances belonging to multiple node groups:")
        print("".join(f"  {name}\n" for name in split), end="", file=sys.stderr)
    elif verbose > 1:
        print("No split instances found")


def _show_groups(loaded: Loaded, verbose: int) -> None:
    placement = loaded.placement
    happy = True
    rows = []
    for group in np.unique(placement.frame.group):
        scope = group_scope(placement, int(group))
        inside = set(scope.tolist())
        bad, bad_instances = bad_items(placement, scope)
        happy = happy and not len(bad)
        rows.append(
            [
                loaded.cluster.groups[int(group)].name,
                str(len(scope)),
                str(sum(node in inside for node in placement.primary)),
                str(len(bad)),
                str(len(bad_instances)),
                str(not len(bad)),
                fixed(metrics.score(placement, scope), 8),
            ]
        )
    if verbose > 1:
        header = ["Group", "Nodes", "Instances", "Bad_Nodes", "Bad_Instances", "N+1", "Score"]
        numeric = [False, True, True, True, True, False, True]
        print(f"Node group information:\n{table('  ', header, rows, numeric)}", end="")
    print(f"Cluster is N+1 {'happy' if happy else 'unhappy'}")
