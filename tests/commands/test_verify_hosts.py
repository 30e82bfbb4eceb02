"""OP_CLUSTER_VERIFY: what is wrong with a machine is found, and only where it matters."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from commands.cluster_ops.verify import HANDLER, ClusterVerify
from nodeagent.calls import HostFacts, OsStatus, Probe
from projections.events.configuration import ClusterModified, DiskReplaced
from projections.objects import Nic
from projections.plans import Call, Plan
from tests.commands.building import UUID, Town, instance_uuid, node_uuid
from tests.commands.test_verify import Checks, change, sound, town_of_two, verified

FACTS = HostFacts(clock_ms=1_000)  # as the town's leader
DEBIAN = OsStatus(name="debian", api_versions=(20,), variants=("small", "large"))


def whole(town: Town) -> Checks:
    """Return what the nodes say of sound machines."""
    checks = sound(town)
    for number in checks:
        change(checks, number, host=FACTS, os=(DEBIAN,))
        set_versions(checks, number, cairn="0.1.0", drbd="8.4.11")
    return checks


def set_versions(checks: Checks, number: int, **versions: str) -> None:
    status = checks[number].status
    named = {**status.versions, **versions}
    change(checks, number, status=msgspec.structs.replace(status, versions=named))


def lacking(what: str, text: str) -> Callable[[Checks], None]:
    return lambda checks: change(checks, 2, lacks={what: (text,)}, missing=(text,))


def advised(what: str, text: str) -> Callable[[Checks], None]:
    return lambda checks: change(checks, 2, advice={what: (text,)})


def facts(**fields: object) -> Callable[[Checks], None]:
    return lambda checks: change(checks, 2, host=msgspec.structs.replace(FACTS, **fields))


def has_os(*found: OsStatus) -> Callable[[Checks], None]:
    return lambda checks: change(checks, 2, os=found)


def left(*instances: str) -> Callable[[Checks], None]:
    return lambda checks: change(checks, 2, interfaces_left=instances)


FINDINGS: list[tuple[str, Callable[[Checks], None], tuple[str, str, str]]] = [
    ("no-lvm", lacking("lvm", "install lvm2"), ("error", "ENODELVM", "install lvm2")),
    ("no-drbd", lacking("drbd", "modprobe drbd"), ("error", "ENODEDRBD", "modprobe drbd")),
    ("no-kvm", lacking("fake", "install qemu"), ("error", "ENODEHV", "install qemu")),
    ("slow", advised("fake", "load kvm"), ("warning", "ENODEHV", "load kvm")),
    ("no-tun", lacking("network", "modprobe tun"), ("error", "ENODENET", "modprobe tun")),
    ("no-bridge", facts(missing_links=("br7",)), ("error", "ENODENET", "missing links: br7")),
    (
        "no-address",
        facts(missing_addresses=("192.0.2.2",)),
        ("error", "ENODENET", "no interface has its address 192.0.2.2"),
    ),
    (
        "left-interface",
        left(instance_uuid(2)),
        ("warning", "ENODENET", "has interfaces of web2.example.net, which does not run here"),
    ),
    ("strange-interface", left("i9"), ("warning", "ENODENET", "has interfaces of i9")),
    (
        "late",
        facts(clock_ms=-199_000),
        ("error", "ENODETIME", "differs by 200 s from that of the master: it is behind"),
    ),
    (
        "helper",
        facts(drbd_helper="/sbin/drbdadm"),
        ("error", "ENODEDRBDHELPER", "calls /sbin/drbdadm"),
    ),
    (
        "no-directory",
        facts(forbidden=("/srv/files",)),
        ("error", "ENODEFILESTORAGEPATHS", "/srv/files: its agent keeps no disks there"),
    ),
    (
        "no-power",
        facts(missing_programs=("/sbin/power",)),
        ("error", "ENODEOOBPATH", "/sbin/power, which turns nodes on and off"),
    ),
    (
        "bad-script",
        facts(bad_scripts=("/etc/ganeti/kvm-vif-bridge",)),
        ("error", "ENODEUSERSCRIPTS", "kvm-vif-bridge cannot be run"),
    ),
    ("os-gone", has_os(), ("error", "ENODEOS", "OS debian is on node1, and not here")),
    (
        "os-more",
        has_os(DEBIAN, OsStatus(name="redhat")),
        ("error", "ENODEOS", "OS redhat is here, and not on node1"),
    ),
    (
        "os-other",
        has_os(msgspec.structs.replace(DEBIAN, variants=("small",))),
        ("error", "ENODEOS", "OS debian: its variants differ from those on node1"),
    ),
]


def test_sound_machines_have_no_findings() -> None:
    """Nor does one whose clock is a little off, or whose variants stand in another order."""
    town = town_of_two()
    checks = whole(town)
    facts(clock_ms=101_000)(checks)
    has_os(msgspec.structs.replace(DEBIAN, variants=("large", "small")))(checks)
    assert verified(town, checks) == []


@pytest.mark.parametrize(
    ("spoil", "expected"), [each[1:] for each in FINDINGS], ids=[each[0] for each in FINDINGS]
)
def test_what_is_wrong_is_found_alone(
    spoil: Callable[[Checks], None], expected: tuple[str, str, str]
) -> None:
    """One finding about node2, with its severity, code and reason."""
    town = town_of_two()
    checks = whole(town)
    spoil(checks)
    (finding,) = verified(town, checks)
    assert finding[:3] == (*expected[:2], "node2")
    assert expected[2] in finding[3]


def test_versions_are_compared_with_each_other() -> None:
    """The agents of all nodes, DRBD within a group: each node that differs is named."""
    town = town_of_two()
    checks = whole(town)
    set_versions(checks, 2, cairn="0.2.0", drbd="9.2.18")
    found = verified(town, checks)
    assert {(code, name) for _, code, name, _ in found} == {
        (code, f"node{number}")
        for code in ("ENODEVERSION", "ENODEDRBDVERSION")
        for number in (1, 2, 3)
    }


def test_what_no_disk_is_made_of_may_be_missing() -> None:
    """DRBD in a cluster without mirrored disks, a hypervisor that is not enabled."""
    town = Town(enabled_disk_templates=("plain",), enabled_hypervisors=("kvm",))
    checks = whole(town)
    for what in ("drbd", "file", "sharedfile", "xen-pvm"):
        lacking(what, "install it")(checks)
        advised(what, "better so")(checks)
        facts(drbd_helper="/sbin/drbdadm")(checks)
        assert verified(town, checks) == []


def test_nodes_are_asked_for_what_they_must_have() -> None:
    """Every bridge of the cluster's guests, as any node may get any of them; their addresses."""
    town = town_of_two()
    routed = Nic(
        uuid=UUID.format(9), mac="aa:00:00:00:00:09", ip="192.0.2.99", params={"mode": "routed"}
    )
    bridged = Nic(uuid=UUID.format(8), mac="aa:00:00:00:00:08", params={"link": "br7"})
    town.add_instance(3, nics=(routed, bridged))
    town.add_node(4, secondary_ip="198.51.100.4")
    town.add_node(
        5, primary_ip="127.0.0.1", vm_capable=False, master_candidate=False,
        ndparams={"oob_program": "/sbin/power"},
    )  # fmt: skip
    plan = town.decide(HANDLER, ClusterVerify())
    assert isinstance(plan, Plan)
    asked = {
        step.id: msgspec.msgpack.decode(step.call.data, type=Probe)
        for step in plan.steps
        if isinstance(step, Call)
    }
    assert asked["look/node4"].links == ("br7", "xen-br0")
    assert asked["look/node4"].addresses == ("192.0.2.4", "198.51.100.4")
    assert (asked["look/node5"].links, asked["look/node5"].addresses) == ((), ())
    directories = {"file": "/srv/files", "sharedfile": "/srv/shared"}
    assert (asked["look/node4"].directories, asked["look/node5"].directories) == (directories, {})
    assert (asked["look/node4"].programs, asked["look/node5"].programs) == (("/sbin/power",), ())


def test_under_exclusive_storage_disks_of_a_group_are_alike() -> None:
    """Within Ganeti's margin; sizes are of no interest where disks are shared."""
    for exclusive in (False, True):
        town = town_of_two()
        settings = msgspec.structs.replace(
            town.cluster.settings, ndparams={"exclusive_storage": exclusive}
        )
        town.fold("cluster", ClusterModified(info=settings))
        checks = whole(town)
        for number, sizes in ((1, (1000, 1010)), (2, (1005, 1015)), (3, (1000, 1000))):
            change(checks, number, host=msgspec.structs.replace(FACTS, disks_mib=sizes))
        assert verified(town, checks) == []
        change(checks, 3, host=msgspec.structs.replace(FACTS, disks_mib=(1000, 1100)))
        found = [
            ("error", "EGROUPDIFFERENTPVSIZE", "default",
             "its physical volumes have from 1000 to 1100 MiB"),
        ]  # fmt: skip
        assert verified(town, checks) == (found if exclusive else [])


def test_disks_of_an_instance_are_mirrored_between_the_same_nodes() -> None:
    """One whose disks lie otherwise cannot fail over as a whole."""
    town = Town(4)
    web = town.add_instance(1, nodes=(1, 2), template="drbd", sizes_mib=(1024, 1024))
    assert [each for each in verified(town, whole(town)) if each[1] == "EINSTANCELAYOUT"] == []
    kept, moved = web.disks[1].sides
    other = msgspec.structs.replace(moved, node=node_uuid(3))
    new = msgspec.structs.replace(web.disks[1], sides=(kept, other))
    town.fold(f"instance/{web.uuid}", DiskReplaced(instance=web.uuid, disk=1, new=new))
    found = [each[1:3] for each in verified(town, whole(town))]
    assert ("EINSTANCELAYOUT", web.name) in found


# Of Ganeti 3.1 (CV_ALL_ECODES).
_ECODES = """
ECLUSTERCERT ECLUSTERCFG ECLUSTERCLIENTCERT ECLUSTERDANGLINGINST ECLUSTERDANGLINGNODES
ECLUSTERFILECHECK EEXTAGS EGROUPDIFFERENTPVSIZE EINSTANCEBADNODE EINSTANCEDOWN
EINSTANCEFAULTYDISK EINSTANCELAYOUT EINSTANCEMISSINGCFGPARAMETER EINSTANCEMISSINGDISK
EINSTANCEPOLICY EINSTANCESPLITGROUPS EINSTANCEUNSUITABLENODE EINSTANCEWRONGNODE ENODEDRBD
ENODEDRBDHELPER ENODEDRBDVERSION ENODEFILECHECK ENODEFILESTORAGEPATHS
ENODEFILESTORAGEPATHUNUSABLE ENODEGLUSTERSTORAGEPATHUNUSABLE ENODEHOOKS ENODEHV ENODELVM
ENODEN1 ENODENET ENODEOOBPATH ENODEORPHANINSTANCE ENODEORPHANLV ENODEOS ENODERPC ENODESETUP
ENODESHAREDFILESTORAGEPATHUNUSABLE ENODESSH ENODETIME ENODEUSERSCRIPTS ENODEVERSION
"""
OF_GANETI = frozenset(_ECODES.split())
OWN = frozenset({"ENODEDUTY", "EJOBATTENTION", "EMASTERADDRESS"})
ROOT = Path(__file__).parents[2]


def test_every_code_is_found_or_the_page_says_why_not() -> None:
    """docs/verify.md lists the codes that the checks know, and the others of Ganeti's."""
    known = set()
    for module in (ROOT / "commands" / "cluster_ops").glob("*.py"):
        known |= set(re.findall(r'"(E(?:CLUSTER|GROUP|INSTANCE|NODE|JOB|MASTER)[A-Z0-9]+)"',
                                module.read_text()))  # fmt: skip
    found, never = (ROOT / "docs" / "verify.md").read_text().split("that are never found")
    listed, left_out = (set(re.findall(r"`(E[A-Z0-9]{5,})`", part)) for part in (found, never))
    assert listed == known
    assert known <= OF_GANETI | OWN
    assert left_out == OF_GANETI - known
