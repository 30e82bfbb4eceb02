"""The columns of node groups (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from projections import ipolicy, params
from projections.objects import Group, Instance, Node
from projections.query.node_fields import ndp_columns
from projections.query.table import (
    NORMAL,
    NUMBER,
    OTHER,
    TEXT,
    FieldDef,
    World,
    by_name,
    field,
    nice,
    stamps,
    value,
)


def fields() -> dict[str, FieldDef]:
    """Return all columns of groups by name."""
    return by_name(*_own(), *_parameters(), *_members(), *stamps())


def _own() -> Iterator[FieldDef]:
    yield value("name", "Group", TEXT, "Its name", lambda g: g.name)
    yield value("alloc_policy", "AllocPolicy", TEXT, "Whether new instances may go there",
                lambda g: g.alloc_policy)  # fmt: skip


def _parameters() -> Iterator[FieldDef]:
    yield _of("ndparams", "NDParams", OTHER, "Node parameters in force", _filled)
    yield value("custom_ndparams", "CustomNDParams", OTHER, "Node parameters set on it",
                lambda g: g.ndparams)  # fmt: skip
    yield _of("diskparams", "DiskParameters", OTHER, "Disk parameters in force", _diskparams)
    yield value("custom_diskparams", "CustomDiskParameters", OTHER, "Disk parameters set on it",
                lambda g: g.diskparams)  # fmt: skip
    yield _of("ipolicy", "InstancePolicy", OTHER, "The bounds of instances in force", _ipolicy)
    yield value("custom_ipolicy", "CustomInstancePolicy", OTHER, "The bounds set on it",
                lambda g: ipolicy.as_ganeti(g.ipolicy))  # fmt: skip
    for name, title, kind in ndp_columns():
        yield _of(f"ndp/{name}", title, kind, f"The parameter {name} in force", _parameter(name))


def _members() -> Iterator[FieldDef]:
    yield _of("node_cnt", "Nodes", NUMBER, "How many nodes it has", lambda w, g: len(_nodes(w, g)))
    yield _of("node_list", "NodeList", OTHER, "Its nodes",
              lambda w, g: [node.name for node in _nodes(w, g)])  # fmt: skip
    yield _of("pinst_cnt", "Instances", NUMBER, "How many instances its nodes are primary of",
              lambda w, g: len(_instances(w, g)))  # fmt: skip
    yield _of("pinst_list", "InstanceList", OTHER, "The instances its nodes are primary of",
              lambda w, g: [instance.name for instance in _instances(w, g)])  # fmt: skip


def _of(
    name: str, title: str, kind: str, doc: str, get: Callable[[World, Group], object]
) -> FieldDef:
    return field(name, title, kind, doc, lambda world, row: (NORMAL, get(world, row)))


def _nodes(world: World, group: Group) -> list[Node]:
    members = (node for node in world.cluster.nodes.values() if node.group == group.uuid)
    return sorted(members, key=lambda node: nice(node.name))


def _instances(world: World, group: Group) -> list[Instance]:
    found = (instance for node in _nodes(world, group) for instance in world.primaries(node))
    return sorted(found, key=lambda instance: nice(instance.name))


def _filled(world: World, group: Group) -> dict[str, object]:
    own = params.defaults(params.tables().ndparams)
    return {**own, **world.cluster.settings.ndparams, **group.ndparams}


def _parameter(name: str) -> Callable[[World, Group], object]:
    return lambda world, group: _filled(world, group).get(name)


def _diskparams(world: World, group: Group) -> dict[str, object]:
    templates = params.tables().diskparams
    return {name: params.storage(world.cluster, group.uuid, name, {}) for name in templates}


def _ipolicy(world: World, group: Group) -> dict[str, object]:
    return ipolicy.as_ganeti(ipolicy.in_force(world.cluster.settings.ipolicy, group.ipolicy))
