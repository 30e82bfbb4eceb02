"""Colourings of graphs: nodes of one colour can be taken down together.

Three greedy orders; the best of them is taken. Edges may repeat, and count as often: the degree of
a vertex is the number of its edges. A loop adds to the degree and forbids nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Graph = dict[int, list[int]]  # vertex -> neighbours
Colouring = dict[int, int]


def build_graph(vertices: Sequence[int], edges: Sequence[tuple[int, int]]) -> Graph:
    """A graph from directed edges; give both directions."""
    graph: Graph = {vertex: [] for vertex in vertices}
    for source, target in edges:
        graph[source].append(target)
    return graph


def _paint(graph: Graph, colours: Colouring, vertex: int) -> None:
    """Give a vertex the first colour that no neighbour has."""
    taken = {colours[other] for other in graph[vertex] if other in colours}
    colour = 0
    while colour in taken:
        colour += 1
    colours[vertex] = colour


def largest_first(graph: Graph) -> Colouring:
    """By falling degree; of equal ones the later vertex first."""
    colours: Colouring = {}
    for vertex in sorted(graph, key=lambda vertex: (len(graph[vertex]), vertex), reverse=True):
        _paint(graph, colours, vertex)
    return colours


def _dynamic(graph: Graph, weight: Callable[[Colouring, int], int]) -> Colouring:
    """Always the vertex of most weight, then of most degree, then the last."""
    colours: Colouring = {}
    left = sorted(graph)
    while left:
        chosen = max(left, key=lambda vertex: (weight(colours, vertex), len(graph[vertex]), vertex))
        left.remove(chosen)
        _paint(graph, colours, chosen)
    return colours


def by_saturation(graph: Graph) -> Colouring:
    """Always the vertex with most colours around it (Dsatur)."""

    def saturation(colours: Colouring, vertex: int) -> int:
        return len({colours[other] for other in graph[vertex] if other in colours})

    return _dynamic(graph, saturation)


def by_coloured(graph: Graph) -> Colouring:
    """Always the vertex with most coloured neighbours (Dcolor)."""

    def coloured(colours: Colouring, vertex: int) -> int:
        return sum(other in colours for other in graph[vertex])

    return _dynamic(graph, coloured)


ALGORITHMS: tuple[tuple[str, Callable[[Graph], Colouring]], ...] = (
    ("LF", largest_first),
    ("Dsatur", by_saturation),
    ("Dcolor", by_coloured),
)


def classes(colours: Colouring) -> list[list[int]]:
    """The vertices of each colour, in order."""
    found: list[list[int]] = [[] for _ in range(max(colours.values(), default=-1) + 1)]
    for vertex in sorted(colours):
        found[colours[vertex]].append(vertex)
    return found
