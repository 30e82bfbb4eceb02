"""The columns: all of Ganeti's, and what they say of a small town."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodeagent.calls import InstanceSeen, NodeStatus
from projections.events.configuration import InstancePrimaryChanged
from projections.query.defaults import DEFAULT_FIELDS, NAME_FIELD
from projections.query.evaluate import answer, fields_of
from projections.query.table import NO_DATA, NORMAL, OFFLINE, UNAVAILABLE, UNKNOWN, World
from tests.commands.building import Town, instance_uuid, node_uuid

REFERENCE = json.loads((Path(__file__).parents[2] / "data/ganeti_query_fields.json").read_text())


def seen(town: Town) -> World:
    """Return the town with what its nodes would report."""
    return World(town.cluster, {uuid: town.status(uuid) for uuid in town.cluster.nodes})


def row(world: World, what: str, *fields: str, name: str = "") -> list[Any]:
    """Return the cells of the only row."""
    table = answer(what, world, fields=fields, names=(name,) if name else ())
    (found,) = table.rows
    return list(found)


@pytest.mark.parametrize("what", sorted(REFERENCE))
def test_every_field_of_ganeti_is_there(what: str) -> None:
    """Each of Ganeti's fields exists under its name, with its title and kind."""
    known = fields_of(what)
    for name, title, kind, indices in REFERENCE[what]["fields"]:
        numbers = [""] if indices is None else range(indices[0], indices[1] + 1)
        for number in numbers:
            column = known[name.replace("/N", f"/{number}")].column
            assert (column.title, column.kind) == (title.replace("/N", f"/{number}"), kind)


@pytest.mark.parametrize("what", sorted(REFERENCE))
def test_default_fields_are_ganetis_and_exist(what: str) -> None:
    """A list shows by default what Ganeti's shows, and names rows by a field there is."""
    if REFERENCE[what]["default"] is not None:
        assert list(DEFAULT_FIELDS[what]) == REFERENCE[what]["default"]
    assert {*DEFAULT_FIELDS[what], NAME_FIELD[what]} <= set(fields_of(what))


@pytest.mark.parametrize("what", ["instance", "node", "group", "cluster"])
def test_every_field_can_be_read(what: str) -> None:
    """No getter fails on a town with all kinds of disks, seen or not, now or in the past."""
    town = Town()
    town.add_instance(1)
    town.add_instance(2, nodes=(2, 3), template="drbd", sizes_mib=(1024, 2048))
    town.add_instance(3, template="diskless", nics=())
    town.lose(2)
    town.set_node(3, offline=True)
    for world in (seen(town), World(town.cluster, {}), World(town.cluster, None)):
        table = answer(what, world, fields=fields_of(what))
        assert len(table.rows) == {"instance": 3, "node": 3, "group": 1, "cluster": 1}[what]
        assert all(status in range(5) for line in table.rows for status, _ in line)


def test_a_running_instance() -> None:
    """What is seen of an instance stands beside what is wanted."""
    town = Town()
    town.add_instance(1, beparams={"maxmem": 1024, "minmem": 512})
    cells = row(seen(town), "instance", "status", "oper_ram", "be/maxmem", "be/vcpus", "pnode")
    assert cells == [(0, "running"), (0, 1024), (0, 1024), (0, 1), (0, "node1")]


@pytest.mark.parametrize("gone", ["lost", "offline"])
def test_what_an_absent_node_said_last_does_not_count(gone: str) -> None:
    """After a failover from it the instance runs where it is seen, not where it was."""
    town = Town()
    web = town.add_instance(1, nodes=(1, 2), template="drbd")
    before = town.status(node_uuid(1))
    moved = InstancePrimaryChanged(
        instance=web.uuid, primary=node_uuid(2), generation=2, how="failover"
    )
    town.fold(f"instance/{web.uuid}", moved)
    there = {node_uuid(1): before, node_uuid(2): town.status(node_uuid(2))}
    not_there = {**there, node_uuid(2): town.status(node_uuid(3))}

    def status(told: dict[str, NodeStatus]) -> list[object]:
        return row(World(town.cluster, told), "instance", "status")

    assert status(there) == [(NORMAL, "running")]
    assert status(not_there) == [(NORMAL, "ERROR_wrongnode")]
    if gone == "lost":
        town.lose(1)
    else:
        town.set_node(1, offline=True)
    assert status(there) == [(NORMAL, "running")]
    assert status(not_there) == [(NORMAL, "ERROR_down")]


@pytest.mark.parametrize(
    ("wanted", "source", "status"),
    [("up", "admin", "ERROR_down"), ("down", "admin", "ADMIN_down"),
     ("offline", "admin", "ADMIN_offline"), ("up", "user", "USER_down")],
)  # fmt: skip
def test_status_of_what_does_not_run(wanted: str, source: str, status: str) -> None:
    """An instance that is not seen running is called after what was wanted of it."""
    town = Town()
    town.add_instance(1, admin_state=wanted, admin_state_source=source)
    world = World(town.cluster, {node_uuid(1): _without_guests(town)})
    assert row(world, "instance", "status", "oper_state", "oper_ram") == [
        (NORMAL, status), (NORMAL, False), (UNAVAILABLE, None),
    ]  # fmt: skip


def test_status_by_node() -> None:
    """A node that is off, lost or the wrong one decides the status, and hides what is seen."""
    town = Town()
    town.add_instance(1)
    elsewhere = _with_guest(town, 2, instance_uuid(1))
    wrong = World(town.cluster, {node_uuid(1): _without_guests(town), node_uuid(2): elsewhere})
    assert row(wrong, "instance", "status") == [(NORMAL, "ERROR_wrongnode")]
    town.lose(1)
    assert row(seen(town), "instance", "status", "oper_ram") == [
        (NORMAL, "ERROR_nodedown"), (NO_DATA, None),
    ]  # fmt: skip
    town.set_node(1, offline=True)
    assert row(seen(town), "instance", "status", "oper_ram") == [
        (NORMAL, "ERROR_nodeoffline"), (OFFLINE, None),
    ]  # fmt: skip


def test_the_past_has_no_live_data() -> None:
    """At an earlier moment the status is the last event's, and telemetry has no data."""
    town = Town()
    town.add_instance(1)
    world = World(town.cluster, None)
    assert row(world, "instance", "status", "oper_ram") == [(NORMAL, "running"), (NO_DATA, None)]
    assert row(world, "node", "mfree", name="node1") == [(NO_DATA, None)]


def test_indexed_fields() -> None:
    """A disk or interface that is not there is unavailable; one that is gives its value."""
    town = Town()
    town.add_instance(1, sizes_mib=(1024, 2048))
    fields = ("disk.size/1", "disk.size/2", "disk.sizes", "nic.mac/0", "nic.mac/1", "nic.modes")
    found = row(seen(town), "instance", *fields)
    assert found[0] == (NORMAL, 2048)
    assert found[1] == (UNAVAILABLE, None)
    assert found[2] == (NORMAL, [1024, 2048])
    assert found[3][0] == NORMAL
    assert found[4] == (UNAVAILABLE, None)
    assert found[5] == (NORMAL, ["bridged"])


def test_an_unknown_field_is_a_column() -> None:
    """A field that there is not has status 1 in every row, and is no error."""
    table = answer("node", seen(Town()), fields=("name", "nonsense"))
    assert table.columns[1].kind == "unknown"
    assert {line[1] for line in table.rows} == {(UNKNOWN, None)}


def test_roles() -> None:
    """Master, candidate, drained, offline, regular: one letter each."""
    town = Town(nodes=5)
    town.set_node(3, master_candidate=False, drained=True)
    town.set_node(4, master_candidate=False, offline=True)
    town.set_node(5, master_candidate=False)
    table = answer("node", World(town.cluster), fields=("role",))
    assert [line[0][1] for line in table.rows] == ["M", "C", "D", "O", "R"]


def _without_guests(town: Town) -> Any:
    import msgspec

    return msgspec.structs.replace(town.status(node_uuid(1)), instances=())


def _with_guest(town: Town, node: int, uuid: str) -> Any:
    import msgspec

    guest = InstanceSeen(uuid, "web1.example.net", "running", 512, 1, 1)
    return msgspec.structs.replace(town.status(node_uuid(node)), instances=(guest,))
