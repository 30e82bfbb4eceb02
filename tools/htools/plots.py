"""Bars of how full the nodes are, before and after: as SVG, or in the terminal."""

from __future__ import annotations

from html import escape
from typing import Final

from commands.placement.frame import Ints
from commands.placement.state import Placement

_WIDTH: Final = 24  # cells of a bar in the terminal
_ROW, _BAR, _LEFT, _SCALE = 34, 12, 150, 200  # pixels; _LEFT at least, for the names


def _parts(placement: Placement, node: int) -> tuple[float, float, float]:
    """How much of memory, disk and CPUs is taken, from 0 to 1."""
    frame = placement.frame

    def part(left: float, total: float) -> float:
        return 0.0 if total <= 0 else min(1.0, max(0.0, 1.0 - left / total))

    high = float(frame.high_cpu[node])
    return (
        part(float(placement.unallocated[node]), float(frame.total_memory[node])),
        part(float(placement.free_disk[node]), float(frame.total_disk[node])),
        part(high - float(placement.used_cpus[node]), high),
    )


def terminal(before: Placement, after: Placement, nodes: Ints) -> str:
    """One line per node and resource: full blocks are after, the mark is before."""
    names = before.frame.names
    width = max((len(names[node]) for node in nodes), default=0)
    lines = [f"{'':<{width}}  memory{'':<{_WIDTH - 4}}disk{'':<{_WIDTH - 2}}cpu"]
    for node in map(int, nodes):
        bars = []
        for old, new in zip(_parts(before, node), _parts(after, node), strict=True):
            cells = ["#" if cell < round(new * _WIDTH) else "." for cell in range(_WIDTH)]
            cells[min(_WIDTH - 1, int(old * _WIDTH))] = "|"
            bars.append("".join(cells))
        lines.append(f"{names[node]:<{width}}  {'  '.join(bars)}")
    lines.append("# after, | before")
    return "\n".join(lines) + "\n"


def svg(before: Placement, after: Placement, nodes: Ints) -> str:
    """A drawing: for each node three pairs of bars, grey before and coloured after."""
    titles = (("memory", "#3b6ea5"), ("disk", "#a5713b"), ("cpu", "#4f8a4f"))
    left = max([_LEFT, *(10 + 7 * len(before.frame.names[node]) for node in map(int, nodes))])
    width = left + len(titles) * (_SCALE + 30)
    height = _ROW * (len(nodes) + 1) + 10
    size = f'width="{width}" height="{height}" font-family="sans-serif" font-size="11"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for column, (title, _) in enumerate(titles):
        x = left + column * (_SCALE + 30)
        out.append(f'<text x="{x}" y="20">{title} (grey before, coloured after)</text>')
    for line, node in enumerate(map(int, nodes), 1):
        y = line * _ROW
        out.append(f'<text x="5" y="{y + _BAR}">{escape(before.frame.names[node])}</text>')
        pairs = zip(_parts(before, node), _parts(after, node), strict=True)
        for column, (old, new) in enumerate(pairs):
            x = left + column * (_SCALE + 30)
            for offset, part, colour in ((0, old, "#bbb"), (_BAR, new, titles[column][1])):
                out.append(
                    f'<rect x="{x}" y="{y + offset}" width="{part * _SCALE:.1f}"'
                    f' height="{_BAR - 1}" fill="{colour}"><title>{part:.1%}</title></rect>'
                )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def show(where: str, before: Placement, after: Placement, nodes: Ints) -> None:
    """`--plot`: print, or write to a file."""
    if where == "-":
        print(f"\n{terminal(before, after, nodes)}", end="")
        return
    with open(where, "w", encoding="utf-8") as file:
        file.write(svg(before, after, nodes))
    print(f"The plot has been written to file '{where}'")
