"""Tables of nodes, instances and statistics, as `-p`, `--print-instances` and `-v` show them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from commands.placement import metrics
from commands.placement.frame import Ints
from commands.placement.model import NO_NODE
from commands.placement.state import Placement
from tools.htools.figures import fixed, shown
from tools.htools.load import Loaded
from tools.htools.tables import table

UNKNOWN: Final = "<unknown field>"
DEFAULT_FIELDS: Final = [
    *("status", "name", "tmem", "nmem", "imem", "xmem", "fmem", "umem", "rmem", "tdsk", "fdsk"),
    *("tcpu", "ucpu", "pcnt", "scnt", "pfmem", "pfdsk", "rcpu", "cload", "mload", "dload", "nload"),
]

Show = Callable[[Loaded, Placement, int], str]


def _held(placement: Placement, node: int) -> int:
    return int(placement.frame.capacity[node] - placement.unallocated[node])


def _percent(amount: float, total: float) -> str:
    return fixed(amount / total, 4) if total else "NaN"


def _disk_part(placement: Placement, node: int) -> float:
    frame = placement.frame
    exclusive = bool(frame.exclusive[node])
    free = placement.free_spindles[node] if exclusive else placement.free_disk[node]
    total = frame.spindles[node] if exclusive else frame.total_disk[node]
    return float(free / total) if total else 1.0


def _status(loaded: Loaded, placement: Placement, node: int) -> str:
    if placement.frame.offline[node]:
        return "-"
    return "*" if placement.unallocated[node] <= placement.reserve[node] else " "


def _peers(loaded: Loaded, placement: Placement, node: int) -> str:
    """Memory kept by primary, most first; of equal ones the one that was added last."""
    base = loaded.cluster.first_index
    kept: list[tuple[int, int]] = []
    for index in reversed(placement.secondaries[node]):
        peer = placement.primary[index]
        memory = placement.demand(index).reserved + dict(kept).get(peer, 0)
        kept = [pair for pair in kept if pair[0] != peer]
        place = next((n for n, pair in enumerate(kept) if pair[1] <= memory), len(kept))
        kept.insert(place, (peer, memory))
    return "[" + ",".join(f"({peer + base},{memory})" for peer, memory in kept) + "]"


def _tags(loaded: Loaded, placement: Placement, node: int) -> str:
    counts = placement.tag_counts[node]
    names = placement.frame.tag_names
    return ",".join(f"{names[tag]}={counts[tag]}" for tag in counts.nonzero()[0])


def _list(indices: Sequence[int]) -> str:
    return "[" + ",".join(map(str, indices)) + "]"


def _cpu(placement: Placement, node: int) -> str:
    cpus = float(placement.frame.cpus[node])
    return fixed(int(placement.used_cpus[node]) / cpus if cpus else 0.0, 2).rjust(5)


_FIELDS: Final[dict[str, tuple[str, bool, Show]]] = {
    "idx": ("Index", True, lambda c, p, n: f"{n + c.cluster.first_index:4d}"),
    "name": ("Name", False, lambda c, p, n: c.alias(p.frame.names[n])),
    "fqdn": ("Name", False, lambda c, p, n: p.frame.names[n]),
    "status": ("F", False, _status),
    "tmem": ("t_mem", True, lambda c, p, n: fixed(p.frame.total_memory[n], 0).rjust(5)),
    "nmem": ("n_mem", True, lambda c, p, n: f"{p.frame.node_memory[n]:5d}"),
    "imem": ("i_mem", True, lambda c, p, n: f"{_held(p, n):5d}"),
    "xmem": ("x_mem", True, lambda c, p, n: f"{p.frame.missing_memory[n]:5d}"),
    "fmem": ("f_mem", True, lambda c, p, n: f"{p.frame.free_memory[n]:5d}"),
    "umem": ("u_mem", True, lambda c, p, n: f"{p.unallocated[n]:5d}"),
    "rmem": ("r_mem", True, lambda c, p, n: f"{p.reserve[n]:5d}"),
    "amem": ("a_mem", True, lambda c, p, n: f"{max(0, p.unallocated[n] - p.reserve[n]):5d}"),
    "tdsk": ("t_dsk", True, lambda c, p, n: fixed(p.frame.total_disk[n] / 1024, 0).rjust(5)),
    "fdsk": ("f_dsk", True, lambda c, p, n: f"{int(p.free_disk[n]) // 1024:5d}"),
    "tcpu": ("pcpu", True, lambda c, p, n: fixed(p.frame.cpus[n], 0).rjust(4)),
    "ucpu": ("vcpu", True, lambda c, p, n: f"{p.used_cpus[n]:4d}"),
    "pcnt": ("pcnt", True, lambda c, p, n: f"{p.primary_count[n]:3d}"),
    "scnt": ("scnt", True, lambda c, p, n: f"{p.secondary_count[n]:3d}"),
    "plist": ("primaries", True, lambda c, p, n: _list(p.primaries[n])),
    "slist": ("secondaries", True, lambda c, p, n: _list(p.secondaries[n])),
    "pfmem": ("p_fmem", True, lambda c, p, n: _percent(p.unallocated[n], p.frame.total_memory[n])),
    "pfdsk": ("p_fdsk", True, lambda c, p, n: fixed(_disk_part(p, n), 4)),
    "rcpu": ("r_cpu", True, lambda c, p, n: _cpu(p, n)),
    "cload": ("lCpu", True, lambda c, p, n: fixed(p.load[n, 0], 3)),
    "mload": ("lMem", True, lambda c, p, n: fixed(p.load[n, 1], 3)),
    "dload": ("lDsk", True, lambda c, p, n: fixed(p.load[n, 2], 3)),
    "nload": ("lNet", True, lambda c, p, n: fixed(p.load[n, 3], 3)),
    "ptags": ("PrimaryTags", False, _tags),
    "peermap": ("PeerMap", False, _peers),
    "spindle_count": ("NodeSpindles", True, lambda c, p, n: str(p.frame.spindles[n])),
    "hi_spindles": ("MaxSpindles", True, lambda c, p, n: shown(p.frame.high_spindles[n])),
    "inst_spindles": ("InstSpindles", True, lambda c, p, n: shown(p.inst_spindles[n])),
}


def node_table(
    loaded: Loaded, placement: Placement, nodes: Sequence[int] | Ints, wanted: Sequence[str]
) -> str:
    """The nodes with the wanted fields; none wanted means the default ones."""
    fields = list(wanted) or DEFAULT_FIELDS
    if fields[0] == "+":
        fields = DEFAULT_FIELDS + fields[1:]
    known = [_FIELDS.get(name) for name in fields]
    header = [entry[0] if entry else UNKNOWN for entry in known]
    numeric = [entry is not None and entry[1] for entry in known]
    rows = [
        [entry[2](loaded, placement, int(node)) if entry else UNKNOWN for entry in known]
        for node in nodes
    ]
    return table("", header, rows, numeric)


def show_nodes(
    loaded: Loaded,
    placement: Placement,
    nodes: Sequence[int] | Ints,
    fields: Sequence[str] | None,
    title: str,
) -> None:
    """Print the nodes on stderr, if asked for."""
    if fields is None:
        return
    listing = node_table(loaded, placement, nodes, fields)
    print(f"\n{title} status:\n{listing}", file=sys.stderr)


def instance_table(loaded: Loaded, placement: Placement, instances: Sequence[int]) -> str:
    """The instances with their nodes and sizes."""
    header = ["F", "Name", "Pri_node", "Sec_node", "Auto_bal", "vcpu", "mem", "dsk"]
    header += ["lCpu", "lMem", "lDsk", "lNet"]
    names = placement.frame.names
    rows = []
    for index in instances:
        inst, secondary = placement.instances[index], placement.secondary[index]
        loads = placement.frame.load_of(inst)
        rows.append(
            [
                "R" if inst.running else " ",
                inst.name,
                names[placement.primary[index]],
                "" if secondary == NO_NODE else names[secondary],
                "Y" if inst.auto_balance else "N",
                f"{inst.vcpus:3d}",
                f"{inst.memory:5d}",
                f"{inst.disk // 1024:5d}",
                *(fixed(load, 3) for load in loads),
            ]
        )
    return table("", header, rows, [False] * 5 + [True] * 7)


def show_instances(
    loaded: Loaded, placement: Placement, instances: Sequence[int], title: str
) -> None:
    """Print the instances on stderr."""
    listing = instance_table(loaded, placement, instances)
    print(f"\n{title} instance map:\n{listing}", end="", file=sys.stderr)


def statistics_table(prefix: str, placement: Placement, scope: Ints) -> str:
    """Every term of the score with its weight; none if no node of the scope is online."""
    online, _ = metrics.split_online(placement, scope)
    found = metrics.detail(placement, scope) if len(online) else ()
    rows = [
        [metric.name, fixed(value, 8), f"x{fixed(metric.weight, 2)}"]
        for metric, value in zip(metrics.METRICS, found, strict=False)
    ]
    return table(prefix, ["Field", "Value", "Weight"], rows, [False, True, True])
