"""The cluster's own choices are those of hail, asked with the same data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.allocation import choose, choose_other
from commands.errors import Refused
from commands.placement import departures, request
from commands.placement.basis import Basis
from commands.placement.departures import Departure
from commands.placement.from_cluster import figures, new_instance
from projections import params
from projections.plans import Reservation, Reservations
from tests.commands.building import Town, node_uuid
from tools.htools.main import run

INSTANCES = st.lists(
    st.tuples(
        st.sampled_from(("plain", "drbd", "drbd", "drbd", "sharedfile")),
        st.permutations((1, 2, 3, 4, 5)),
        st.sampled_from(("up", "down")),
        st.integers(128, 3000),
        st.integers(1024, 30000),
    ),
    max_size=10,
)
MODES = st.sampled_from(departures.MODES)


def built(them: Any) -> Town:
    """Return a town with these instances; the last two of six and more are only planned yet."""
    town = Town(5)
    for number, (template, nodes, state, memory, disk) in enumerate(them, start=1):
        if number > 5 and number > len(them) - 2:
            homes = [node_uuid(node) for node in nodes[: 2 if template == "drbd" else 1]]
            held = [
                Reservation(node=home, memory_mib=0 if at else memory, disk_mib=disk, vcpus=2)
                for at, home in enumerate(homes)
            ]
            name = f"instance/new{number}.example.net"
            wanted = Reservations(nodes=tuple(held), names=(name,))
            town.cluster = town.cluster.reserve((number, 0), wanted)
            continue
        town.add_instance(
            number,
            nodes=nodes[: 2 if template == "drbd" else 1],
            template=template,
            sizes_mib=(disk,),
            admin_state=state,
            beparams={"maxmem": memory, "minmem": memory},
        )
    return town


@pytest.fixture(name="hail", scope="module")
def _hail(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = Path(tmp_path_factory.mktemp("hail")) / "request.json"

    def ask(town: Town, question: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Any:
        seen = figures(town.cluster, town.given().seen)
        path.write_bytes(request.request(town.cluster, seen, question))
        capsys.readouterr()
        assert run("hail", [str(path)]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


SAME = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.property
@SAME
@given(
    INSTANCES, st.sampled_from(("plain", "drbd", "diskless")), st.integers(128, 9000), st.booleans()
)
def test_a_new_instance_goes_where_hail_puts_it(
    hail: Any,
    capsys: pytest.CaptureFixture[str],
    them: Any,
    template: str,
    memory: int,
    named: bool,
) -> None:
    """The same nodes with the same score, or no place for either."""
    town = built(them)
    backend = {**params.defaults(params.tables().beparams), "maxmem": memory}
    disks = () if template == "diskless" else ((5000, None),)
    wish = new_instance(
        name="new.example.net", backend=backend, template=template, disks=disks, tags=()
    )
    group = town.group if named else None
    question = request.allocate(
        town.cluster, wish, os="debian", nics=(), hypervisor="fake",
        group="default" if named else "",
    )  # fmt: skip
    answer = hail(town, question, capsys)
    try:
        choice = choose(town.cluster, town.given().seen, wish, group)
    except Refused:
        assert not answer["success"]
        return
    names = [town.cluster.nodes[uuid].name for uuid in choice.nodes]
    assert answer["result"] == names
    assert msgspec.msgpack.decode(choice.basis, type=Basis).info in answer["info"]


@pytest.mark.property
@SAME
@given(INSTANCES, MODES)
def test_instances_leave_a_node_as_hail_has_it(
    hail: Any, capsys: pytest.CaptureFixture[str], them: Any, mode: str
) -> None:
    """The same instances go, to the same nodes; the same ones stay."""
    town = built(them)
    names = sorted(one.name for one in town.cluster.instances.values() if one.primary[-1] == "1")
    asked = Departure(
        kind=departures.EVACUATE,
        names=tuple(names),
        mode=mode,
        figures=figures(town.cluster, town.given().seen),
    )
    found = departures.decide(town.cluster, asked)
    moved, failed, _ = hail(town, request.evacuate(names, mode), capsys)["result"]
    assert [[one.name, one.group, list(one.nodes)] for one in found.going] == moved
    assert [list(one) for one in found.staying] == failed


@pytest.mark.property
@SAME
@given(INSTANCES.filter(lambda them: any(one[0] == "drbd" for one in them)))
def test_a_new_secondary_is_that_of_hail(
    hail: Any, capsys: pytest.CaptureFixture[str], them: Any
) -> None:
    """Asked to relocate it."""
    town = built(them)
    instance = next(one for one in town.cluster.instances.values() if one.template == "drbd")
    answer = hail(town, request.relocate(town.cluster, instance), capsys)
    try:
        choice = choose_other(town.cluster, town.given().seen, instance, ignore_policy=False)
    except Refused:
        assert not answer["success"]
        return
    assert answer["result"] == [town.cluster.nodes[choice.nodes[-1]].name]
