"""hscan: one line about each of some clusters, and their data in the text format."""

from __future__ import annotations

import os

from commands.placement import metrics
from commands.placement.allocate import all_nodes
from commands.placement.metrics import bad_items
from tools.htools import listing
from tools.htools.choices import Choices
from tools.htools.errors import DataError
from tools.htools.figures import fixed
from tools.htools.load import Loaded, Rapi, Source, place
from tools.htools.text import cluster_text

_LOCAL = "LOCAL"


def main(choices: Choices) -> int:
    """Scan the clusters named on the command line; 2 if any could not be read."""
    names = choices.arguments
    width = max(map(len, names), default=len(_LOCAL))
    if not choices.no_headers:
        columns = ("Nodes", "Inst", "BNode", "BInst"), ("t_mem", "f_mem", "t_disk", "f_disk")
        text = " ".join([f"{title:>5}" for title in columns[0]])
        text += " " + " ".join([f"{title:>6}" for title in columns[1]])
        print(f"{'Name':<{width}} {text} {'Score':>10}")
    if not names:
        from tools.htools.live import Running, settings_of

        return 0 if _scan(choices, Running(settings_of(choices)), _LOCAL, width) else 2
    # all of them, not to the first fault
    results = [_scan(choices, Rapi(name), name, width) for name in names]
    return 0 if all(results) else 2


def _scan(choices: Choices, source: Source, name: str, width: int) -> bool:
    try:
        cluster = source.load()
    except DataError as problem:
        print(f"\nError for {name}: failed to load data. Details:\n{problem}")
        return False
    loaded = place(cluster, choices)
    print(f"{name:<{width}} {_summary(loaded)}", flush=True)
    if choices.show_nodes is not None:
        nodes = all_nodes(loaded.placement)
        print(listing.node_table(loaded, loaded.placement, nodes, choices.show_nodes), end="")
    path = os.path.join(choices.output_dir, name.replace("/", "_") + ".data")
    with open(path, "w", encoding="utf-8") as file:
        file.write(cluster_text(cluster, loaded.placement))
    return True


def _summary(loaded: Loaded) -> str:
    placement, cluster = loaded.placement, loaded.cluster
    nodes = all_nodes(placement)
    bad, bad_instances = bad_items(placement, nodes)
    total_disk = sum(node.total_disk for node in cluster.nodes) / 1024
    free_disk = int(placement.free_disk.sum()) // 1024
    total_memory = fixed(sum(node.total_memory for node in cluster.nodes), 0)
    free_memory = sum(node.free_memory for node in cluster.nodes)
    return (
        f"{len(nodes):5d} {len(placement.instances):5d} {len(bad):5d} {len(bad_instances):5d}"
        f" {total_memory:>6} {free_memory:6d} {fixed(total_disk, 0):>6} {free_disk:6d}"
        f" {fixed(metrics.score(placement, nodes), 8)}"
    )
