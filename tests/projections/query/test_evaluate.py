"""Rows: which ones, in which order, filtered how."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.packed import Packed
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.job_state import Job, Line, OpState, Problem
from projections.locks import LockTable, Request
from projections.query.evaluate import UnknownTable, answer, fields_of
from projections.query.filters import BadFilter, compile_filter
from projections.query.job_fields import JobRow
from projections.query.table import World, nice
from tests.commands.building import Town, node_uuid


@pytest.fixture(scope="module")
def world() -> World:
    town = Town()
    for number in (10, 2, 1):
        town.add_instance(number, tags=("prod",) if number == 2 else ())
    return World(town.cluster, {uuid: town.status(uuid) for uuid in town.cluster.nodes})


def names(world: World, **query: Any) -> list[object]:
    """Return the names of the rows."""
    table = answer("instance", world, fields=("name",), **query)
    return [line[0][1] for line in table.rows]


def test_rows_are_sorted_as_people_count(world: World) -> None:
    """web2 stands before web10."""
    assert names(world) == ["web1.example.net", "web2.example.net", "web10.example.net"]


def test_names_are_sorted_and_come_once(world: World) -> None:
    """Names may be short and repeated; the rows are sorted and each comes once."""
    wanted = ("web10", "web1.example.net", "web10.example.net")
    assert names(world, names=wanted) == ["web1.example.net", "web10.example.net"]


def test_an_unknown_name_is_an_error(world: World) -> None:
    """A name that there is not is refused, not left out."""
    with pytest.raises(NoSuchObject):
        names(world, names=("nobody",))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["==", "name", "web2.example.net"], [2]),
        (["=", "name", "web2.example.net"], [2]),
        (["!=", "name", "web2.example.net"], [1, 10]),
        (["=[]", "tags", "prod"], [2]),
        (["?", "tags"], [2]),
        (["!", ["?", "tags"]], [1, 10]),
        (["=~", "name", "^web1"], [1, 10]),
        (["|", ["=~", "name", "10"], ["=[]", "tags", "prod"]], [2, 10]),
        (["&", [">=", "be/maxmem", 512], ["<", "disk.size/0", 1]], []),
        (["==", "oper_state", "yes"], [1, 2, 10]),
        ([">", "disk.size/5", 0], []),
    ],
)
def test_filters(world: World, where: object, found: list[int]) -> None:
    """Each operator of Ganeti's filter language chooses the rows it should."""
    assert names(world, where=where) == [f"web{number}.example.net" for number in found]


@pytest.mark.parametrize(
    "where",
    ["name", [], ["&"], ["==", "name"], ["==", "nonsense", 1], ["=~", "name", "("],
     ["^", "name", 1], ["<", "name", 5]],
)  # fmt: skip
def test_bad_filters_are_refused(world: World, where: object) -> None:
    """What is no filter is refused with words, never with a crash."""
    with pytest.raises(BadFilter):
        names(world, where=where)


def test_depth_of_filters_is_bounded(world: World) -> None:
    """A filter that is nested without end is refused."""
    where: list[object] = ["?", "tags"]
    for _ in range(50):
        where = ["!", where]
    with pytest.raises(BadFilter, match="deeper"):
        names(world, where=where)


@pytest.mark.property
@given(
    st.recursive(
        st.none() | st.text(max_size=4) | st.integers() | st.sampled_from(["name", "tags", "=="]),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    )
)
def test_whatever_is_sent_is_a_filter_or_refused(tree: object) -> None:
    """Any tree of values either compiles or raises BadFilter."""
    try:
        compile_filter(tree, fields_of("instance"))
    except BadFilter:
        return
    assert isinstance(tree, list)


@pytest.mark.property
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.text(alphabet="ab-.", max_size=4))
def test_numbers_in_names_count(one: int, other: int, before: str) -> None:
    """Two names that differ in a number stand in the order of the numbers."""
    assert (nice(f"{before}{one}.x") < nice(f"{before}{other}.x")) == (one < other)


def test_an_unknown_table_is_refused(world: World) -> None:
    """A table that there is not is refused with those there are."""
    with pytest.raises(UnknownTable, match="instance"):
        answer("planet", world, fields=())


def test_jobs(world: World) -> None:
    """Jobs come by number, with their opcodes' states, results and times as Ganeti's pairs."""
    body = msgspec.Raw(msgspec.msgpack.encode({"instance_name": "web1"}))
    done = OpState(
        op=Packed("OP_INSTANCE_STARTUP", 1, body), summary="INSTANCE_STARTUP(web1)",
        status="success", started_ms=1500, ended_ms=2750, locks=(Lock(f"node/{node_uuid(1)}"),),
    )  # fmt: skip
    failed = msgspec.structs.replace(
        done, status="error", problem=Problem(code="wrong_state", message="it runs", hint="stop it")
    )
    jobs = [
        JobRow(Job(id=11, actor="operator:a", ops=(failed,)), archived=True),
        JobRow(Job(id=2, actor="operator:a", ops=(done,), lines=(Line(7, 1600, 0, "hello"),))),
    ]
    fields = ("id", "status", "summary", "start_ts", "end_ts", "archived", "opresult", "oplog",
              "ops", "oplocks")  # fmt: skip
    table = answer("job", world, fields=fields, jobs=jobs)
    first, second = ([value for _, value in line] for line in table.rows)
    assert first[:6] == [2, "success", ["INSTANCE_STARTUP(web1)"], (1, 500000), (2, 750000), False]
    assert first[7:] == [
        [[[7, (1, 600000), "message", "hello"]]],
        [{"OP_ID": "OP_INSTANCE_STARTUP", "instance_name": "web1"}],
        [[["node/node1", False]]],
    ]
    assert second[0] == 11
    assert second[5] is True
    assert second[6] == [
        {"code": "wrong_state", "message": "it runs", "hint": "stop it", "step": ""}
    ]
    assert [
        line[0][1] for line in answer("job", world, fields=("id",), names=("11",), jobs=jobs).rows
    ] == [11]
    with pytest.raises(NoSuchObject):
        answer("job", world, fields=("id",), names=("3",), jobs=jobs)


def test_locks(world: World) -> None:
    """A lock shows who holds it and who waits for it, under the name that people use."""
    node = f"node/{node_uuid(1)}"
    table = LockTable().grant(4, (Lock(node, True),)).wait(Request(0, 5, (Lock(node),)))
    rows = answer("lock", world, fields=("name", "mode", "owner", "pending"), locks=table).rows
    assert [[value for _, value in line] for line in rows] == [
        ["node/node1", "shared", ["job/4"], [["exclusive", ["job/5"]]]]
    ]
