"""What `-L` reads of a running cluster is what the cluster itself decides with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from commands.placement import model
from commands.placement.frame import build_frame
from commands.placement.from_cluster import figures, model_of
from commands.placement.state import Placement
from projections.query.evaluate import answer
from projections.query.table import World
from tests.commands.building import Town, node_uuid
from tests.tools.htools.test_same_as_hail import INSTANCES
from tools.htools.live import CLUSTER, GROUPS, NODES, parse
from tools.htools.live import INSTANCES as INSTANCE_FIELDS
from tools.htools.text import cluster_text, parse_cluster


def read(town: Town, *, seen: Any = None) -> model.Cluster:
    """Return the cluster as the queries of `-L` give it."""
    world = World(town.cluster, town.given().seen if seen is None else seen)

    def rows(what: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
        found = answer(what, world, fields=fields)
        assert all(column.kind != "unknown" for column in found.columns)
        return [
            {
                name: value if status == 0 else None
                for name, (status, value) in zip(fields, row, strict=True)
            }
            for row in found.rows
        ]

    return parse(
        rows("group", GROUPS),
        rows("node", NODES),
        rows("instance", INSTANCE_FIELDS),
        rows("cluster", CLUSTER),
    )


def built(them: Any) -> Town:
    """Return a town with these instances."""
    town = Town(5)
    for number, (template, nodes, state, memory, disk) in enumerate(them, start=1):
        town.add_instance(
            number,
            nodes=nodes[: 2 if template == "drbd" else 1],
            template=template,
            sizes_mib=(disk,),
            admin_state=state,
            beparams={"maxmem": memory, "minmem": memory},
        )
    return town


@pytest.mark.property
@settings(deadline=None, max_examples=40)
@given(INSTANCES)
def test_it_is_the_model_of_the_projections(them: Any) -> None:
    """Where what is wanted runs, and nothing is reserved; which node is the master is besides."""
    town = built(them)
    live = read(town)
    nodes = tuple(msgspec.structs.replace(node, master=False) for node in live.nodes)
    assert msgspec.structs.replace(live, nodes=nodes) == model_of(
        town.cluster, figures(town.cluster, town.given().seen)
    )
    assert [node.name for node in live.nodes if node.master] == ["node1"]


@pytest.mark.property
@settings(deadline=None, max_examples=40)
@given(INSTANCES)
def test_it_survives_the_text_format(them: Any) -> None:
    """So that a plan for the running cluster is the plan for its dump."""
    live = read(built(them))
    text = cluster_text(live, Placement(build_frame(live)))
    again = parse_cluster(text)
    assert cluster_text(again, Placement(build_frame(again))) == text


def test_nodes_that_cannot_be_asked_are_offline() -> None:
    """Whether they are marked so, lost, drained, or were never heard."""
    town = Town(5)
    town.add_instance(1, nodes=(2, 3), template="drbd")
    town.set_node(2, offline=True, master_candidate=False)
    town.set_node(3, drained=True, master_candidate=False)
    town.lose(4)
    seen = {node_uuid(n): town.status(node_uuid(n)) for n in (1, 3)}
    live = read(town, seen=seen)
    assert [node.offline for node in live.nodes] == [False, True, True, True, True]
    assert live.nodes[2].total_memory == 8192.0
    assert live.instances[0].status == "ERROR_nodeoffline"
