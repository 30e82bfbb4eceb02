"""OP_CLUSTER_VERIFY: each thing that is wrong is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from commands.cluster_ops.holdings import unlike
from commands.cluster_ops.verify import HANDLER, ClusterVerify
from commands.errors import Refused
from commands.handler import PlanOutcome
from nodeagent.calls import (
    HostFacts,
    InstanceSeen,
    NodeCheck,
    NodeStatus,
    OsStatus,
    OwnedVolume,
    Probe,
)
from nodeagent.inventory import inventory
from projections.events.configuration import (
    ClusterModified,
    DiskStateSeen,
    DutyFailed,
    DutyRecorded,
    MasterAddressTaken,
)
from projections.objects import ADMIN_DOWN, HeldAddress
from projections.plans import Call, Plan
from projections.unsettled import Parked
from tests.commands.building import UUID, Town, ids, node_uuid


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it is."""

    status: NodeStatus
    missing: tuple[str, ...] = ()
    volumes: tuple[OwnedVolume, ...] = ()
    minors: dict[int, str] = {}
    os: tuple[OsStatus, ...] = ()
    lacks: dict[str, tuple[str, ...]] = {}
    host: HostFacts | None = None
    interfaces_left: tuple[str, ...] = ()
    advice: dict[str, tuple[str, ...]] = {}

    def answer(self, probe: Probe) -> NodeCheck:
        """Return what its agent answers."""
        check = NodeCheck(
            status=self.status, missing=self.missing, os=self.os, lacks=self.lacks,
            host=self.host, interfaces_left=self.interfaces_left, advice=self.advice,
        )  # fmt: skip
        beside = len(msgspec.msgpack.encode(check))
        holds = inventory(self.volumes, self.minors, probe.buckets, beside_bytes=beside)
        return msgspec.structs.replace(check, holds=holds)


Checks = dict[int, Held]


def town_of_two() -> Town:
    """web1 mirrored on node1 and node2, web2 plain on node3."""
    town = Town()
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(3,))
    return town


def sound(town: Town) -> Checks:
    """Return what the nodes say when all is as it should be."""
    checks = {}
    for number in range(1, len(town.cluster.nodes) + 1):
        uuid = node_uuid(number)
        volumes, minors = [], {}
        for instance in town.cluster.instances.values():
            for disk in instance.disks:
                for side in (side for side in disk.sides if side.node == uuid):
                    names = [name for name in (side.volume, side.meta_volume) if name]
                    volumes += [
                        OwnedVolume(name=name, kind="lvm", size_mib=1, owner=disk.uuid)
                        for name in names
                    ]
                    if side.minor is not None:
                        minors[side.minor] = disk.uuid
        checks[number] = Held(status=town.status(uuid), volumes=tuple(volumes), minors=minors)
    return checks


def verified(town: Town, checks: Checks, **fields: Any) -> list[tuple[str, ...]]:
    """Return the findings when the nodes say this."""
    return asked(town, checks, **fields)[-1]


def asked(town: Town, checks: Checks, **fields: Any) -> tuple[list[int], list[tuple[str, ...]]]:
    """Return how many nodes each plan asked, and the findings."""
    op = ClusterVerify(**fields)
    so_far: tuple[PlanOutcome, ...] = ()
    sizes = []
    while isinstance(plan := town.decide(HANDLER, op, so_far=so_far), Plan):
        sizes.append(len(plan.steps))
        so_far = (*so_far, PlanOutcome(plan=plan, results=dict(_answers(plan, checks))))
    assert isinstance(plan.result, list)
    return sizes, plan.result


def _answers(plan: Plan, checks: Checks) -> Iterator[tuple[str, msgspec.Raw]]:
    for step in plan.steps:
        number = int(step.id.removeprefix("look/node"))
        if number in checks:
            assert isinstance(step, Call)
            probe = msgspec.msgpack.decode(step.call.data, type=Probe)
            yield step.id, msgspec.Raw(msgspec.msgpack.encode(checks[number].answer(probe)))


def change(checks: Checks, node: int, **fields: Any) -> None:
    """Let a node say something else."""
    checks[node] = msgspec.structs.replace(checks[node], **fields)


def test_a_sound_cluster_has_no_findings() -> None:
    """Every node in reach is asked, all at once."""
    town = town_of_two()
    plan = town.decide(HANDLER, ClusterVerify())
    assert ids(plan) == ["look/node1", "look/node2", "look/node3"]
    assert asked(town, sound(town)) == ([3], [])


def orphan_volume(town: Town, checks: Checks) -> None:
    more = OwnedVolume(name="xenvg/left", kind="lvm", size_mib=5, owner=UUID.format(7))
    change(checks, 3, volumes=(*checks[3].volumes, more))


def missing_volume(town: Town, checks: Checks) -> None:
    change(checks, 3, volumes=())


def strange_minor(town: Town, checks: Checks) -> None:
    change(checks, 3, minors={9: UUID.format(7)})


def missing_minor(town: Town, checks: Checks) -> None:
    change(checks, 1, minors={})


def missing_tool(town: Town, checks: Checks) -> None:
    change(checks, 2, missing=("drbdadm: install drbd-utils",))


def bad_os(town: Town, checks: Checks) -> None:
    change(checks, 2, os=(OsStatus(name="debian", problem="no create script"),))


def silent_node(town: Town, checks: Checks) -> None:
    del checks[2]


def stopped(town: Town, checks: Checks) -> None:
    change(checks, 3, status=msgspec.structs.replace(checks[3].status, instances=()))


def running_elsewhere(town: Town, checks: Checks) -> None:
    seen = checks[3].status.instances
    status = msgspec.structs.replace(checks[2].status, instances=seen)
    change(checks, 2, status=status)


def stranger(town: Town, checks: Checks) -> None:
    seen = InstanceSeen(UUID.format(8), "ghost", "running", 1, 1, 1)
    change(checks, 2, status=msgspec.structs.replace(checks[2].status, instances=(seen,)))


def faulty_disk(town: Town, checks: Checks) -> None:
    web = town.instance()
    town.fold(
        f"instance/{web.uuid}",
        DiskStateSeen(instance=web.uuid, disk=web.disks[0].uuid, node=node_uuid(2), state="faulty"),
    )


def duty(town: Town, checks: Checks) -> None:
    owed = DutyRecorded(node=node_uuid(2), duty="d", job=7, what="remove-volume")
    town.fold(f"node/{node_uuid(2)}", owed)


def failed_duty(town: Town, checks: Checks) -> None:
    duty(town, checks)
    told = DutyFailed(node=node_uuid(2), duty="d", message="it is busy")
    town.fold(f"node/{node_uuid(2)}", told)


def too_little_memory(town: Town, checks: Checks) -> None:
    change(checks, 2, status=msgspec.structs.replace(checks[2].status, memory_free_mib=100))


def too_few_candidates(town: Town, checks: Checks) -> None:
    town.set_node(3, master_candidate=False)


def no_address(town: Town, checks: Checks) -> None:
    info = msgspec.structs.replace(
        town.cluster.settings, master_ip="192.0.2.9", master_netdev="br0"
    )
    town.fold("cluster", ClusterModified(info=info))


def two_addresses(town: Town, checks: Checks) -> None:
    no_address(town, checks)
    for number in (1, 2):
        held = HeldAddress(node=node_uuid(number), address="192.0.2.9", prefix=32, device="br0")
        town.fold("cluster", MasterAddressTaken(held=held))


FINDINGS: list[tuple[Callable[[Town, Checks], None], tuple[str, ...]]] = [
    (orphan_volume, ("warning", "ENODEORPHANLV", "node3", "belongs to no disk")),
    (missing_volume, ("error", "EINSTANCEMISSINGDISK", "web2.example.net", "is missing on node3")),
    (strange_minor, ("error", "ENODEDRBD", "node3", "minor 9 is in use")),
    (missing_minor, ("error", "ENODEDRBD", "node1", "is not active")),
    (missing_tool, ("error", "ENODESETUP", "node2", "install drbd-utils")),
    (bad_os, ("warning", "ENODEOS", "node2", "no create script")),
    (silent_node, ("error", "ENODERPC", "node2", "did not answer")),
    (stopped, ("error", "EINSTANCEDOWN", "web2.example.net", "does not run on its primary")),
    (running_elsewhere, ("error", "EINSTANCEWRONGNODE", "web2.example.net", "runs on node2")),
    (stranger, ("error", "ENODEORPHANINSTANCE", "node2", "ghost runs")),
    (faulty_disk, ("error", "EINSTANCEFAULTYDISK", "web1.example.net", "is faulty on node2")),
    (duty, ("warning", "ENODEDUTY", "node2", "still owes remove-volume (job 7)")),
    (failed_duty, ("error", "ENODEDUTY", "node2", "could not: it is busy (gnt-job resolve")),
    (no_address, ("error", "EMASTERADDRESS", "town.example.net", "192.0.2.9 is on no node")),
    (two_addresses, ("warning", "EMASTERADDRESS", "node2", "may hold 192.0.2.9 on br0 still")),
    (too_little_memory, ("error", "ENODEN1", "node2", "if node1 fails")),
    (too_few_candidates, ("warning", "ECLUSTERCFG", "town.example.net", "2 master candidates")),
]


@pytest.mark.parametrize(
    ("spoil", "expected"), FINDINGS, ids=lambda each: getattr(each, "__name__", "")
)
def test_what_is_wrong_is_found_alone(
    spoil: Callable[[Town, Checks], None], expected: tuple[str, ...]
) -> None:
    """One finding, with its severity, code, object and reason."""
    town = town_of_two()
    checks = sound(town)
    spoil(town, checks)
    (finding,) = verified(town, checks)
    assert finding[:3] == expected[:3]
    assert expected[3] in finding[3]


def test_a_parked_opcode_is_an_error_with_what_it_left() -> None:
    """Also when no node is asked; the message says how to resolve it."""
    town = town_of_two()
    checks = sound(town)
    parked = Parked(summary="INSTANCE_REMOVE(web1)", message="disk busy", left=("volume on node2",))
    town.cluster = town.cluster.with_parked((7, 0), parked)
    ((severity, code, subject, text),) = verified(town, checks)
    assert (severity, code, subject) == ("error", "EJOBATTENTION", "job 7")
    assert text == (
        "INSTANCE_REMOVE(web1) needs attention: disk busy; left: volume on node2 "
        "(gnt-job resolve 7)"
    )


def test_an_instance_that_should_be_down_is_found_running() -> None:
    """It is the wish that is wrong, or somebody started it by hand."""
    town = Town()
    town.add_instance(1)
    checks = sound(town)
    town = Town()
    town.add_instance(1, admin_state=ADMIN_DOWN)
    ((severity, code, *_),) = verified(town, checks)
    assert (severity, code) == ("error", "EINSTANCEWRONGNODE")


def test_a_shared_volume_is_no_orphan_on_other_nodes() -> None:
    """Every node sees it, and it belongs to one disk."""
    town = Town(2)
    town.add_instance(1, template="sharedfile")
    checks = sound(town)
    change(checks, 2, volumes=checks[1].volumes)
    assert verified(town, checks) == []


def test_a_node_is_asked_for_names_only_where_something_differs() -> None:
    """One of thousands of volumes is missing: one bucket of one node is listed, in little room."""
    town = Town()
    for number in range(1, 41):
        town.add_instance(number, nodes=(1, 2), template="drbd", sizes_mib=(1024,) * 16)
    checks = sound(town)
    assert len(checks[1].volumes) == 1280
    skip = {"skip_checks": ("nplusone_mem",)}
    assert asked(town, checks, **skip) == ([3], [])
    change(checks, 1, volumes=checks[1].volumes[1:])
    sizes, ((severity, code, *_),) = asked(town, checks, **skip)
    assert sizes == [3, 1]
    assert (severity, code) == ("error", "EINSTANCEMISSINGDISK")
    (gone,) = unlike(town.cluster, town.node(1), checks[1].answer(Probe(inventory=True)))
    answer = checks[1].answer(Probe(inventory=True, buckets=(gone,)))
    assert answer.holds is not None
    assert 0 < len(answer.holds.volumes) < 60


def test_what_one_answer_cannot_tell_is_a_finding() -> None:
    """A node full of volumes of nobody: the answer fits, names some of them, and says so.

    A long list of instances takes its room from the volumes.
    """
    town = town_of_two()
    checks = sound(town)
    strange = tuple(
        OwnedVolume(name=f"xenvg/strange{number}", kind="lvm", size_mib=1, owner=UUID.format(7))
        for number in range(5000)
    )
    change(checks, 3, volumes=(*checks[3].volumes, *strange))
    answer = checks[3].answer(Probe(inventory=True, buckets=tuple(range(64))))
    assert len(msgspec.msgpack.encode(answer)) < 60_000
    guest = InstanceSeen(UUID.format(8), "web.example.net", "running", 1, 1, 1)
    busy = msgspec.structs.replace(checks[3].status, instances=(guest,) * 500)
    crowded = msgspec.structs.replace(checks[3], status=busy)
    answer = crowded.answer(Probe(inventory=True, buckets=tuple(range(64))))
    assert 40_000 < len(msgspec.msgpack.encode(answer)) < 60_000
    findings = verified(town, checks)
    assert {code for _, code, *_ in findings} == {"ENODEORPHANLV"}
    assert "parts of it were not compared" in findings[-1][3]
    assert 100 < len(findings) < 5000


def test_an_agent_that_sums_otherwise_is_a_finding() -> None:
    """One of another version: the rest of the cluster is verified all the same."""

    class Other(Held, frozen=True, kw_only=True):
        def answer(self, probe: Probe) -> NodeCheck:
            check = super().answer(probe)
            assert check.holds is not None
            return msgspec.structs.replace(
                check, holds=msgspec.structs.replace(check.holds, sums=(1,))
            )

    town = town_of_two()
    checks = sound(town)
    checks[2] = Other(**msgspec.structs.asdict(checks[2]))
    ((severity, code, subject, _),) = verified(town, checks)
    assert (severity, code, subject) == ("warning", "ENODEVERSION", "node2")


def test_nodes_out_of_reach_are_findings_and_are_not_asked() -> None:
    """Lost is an error; offline, as an operator said, is a warning."""
    town = Town(4)
    checks = {number: check for number, check in sound(town).items() if number < 3}
    town.lose(3)
    town.set_node(4, offline=True, master_candidate=True)
    assert ids(town.decide(HANDLER, ClusterVerify())) == ["look/node1", "look/node2"]
    found = {(finding[2], finding[0]) for finding in verified(town, checks)}
    assert found == {("node3", "error"), ("node4", "warning")}


def test_checks_can_be_skipped_and_errors_made_warnings() -> None:
    """By Ganeti's names; unknown ones are refused."""
    town = town_of_two()
    checks = sound(town)
    too_little_memory(town, checks)
    assert verified(town, checks, skip_checks=("nplusone_mem",)) == []
    ((severity, *_),) = verified(town, checks, ignore_errors=("ENODEN1",))
    assert severity == "warning"
    with pytest.raises(Refused):
        town.decide(HANDLER, ClusterVerify(skip_checks=("everything",)))


def test_a_group_can_be_verified_alone() -> None:
    """Findings about other groups are left out."""
    town = town_of_two()
    checks = sound(town)
    stopped(town, checks)
    assert len(verified(town, checks, group_name="default")) == 1
