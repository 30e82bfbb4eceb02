"""NICs of real guests, in network namespaces of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nodeagent.errors import NoSuchThing
from nodeagent.hypervisor.kvm.here import VHOST
from nodeagent.task_scope import Progress, TaskScope
from tests.nodeagent.contract_hypervisor import finish, prepare, run, running, send
from tests.nodeagent.kvm.launching import Value
from tests.nodeagent.kvm.network_node import SECOND, NetworkNode, cabled
from tests.nodeagent.kvm.tiny import boots
from tests.nodeagent.specs import GUEST

pytestmark = pytest.mark.acceptance
Pair = tuple[NetworkNode, NetworkNode]


@pytest.fixture
def pair(tmp_path: Path, disk: Path) -> Iterator[Pair]:
    with cabled(tmp_path, disk) as nodes:
        yield nodes


@pytest.mark.parametrize(
    "kind",
    ["e1000", "i82551", "i82557b", "i82559er", "ne2k_isa", "ne2k_pci", "paravirtual", "pcnet",
     "rtl8139"],
)  # fmt: skip
def test_each_kind_of_nic(pair: Pair, kind: str) -> None:
    """The guest boots, and holds its tap."""
    node = pair[0]
    run(node, node.guest(hvparams={"nic_type": kind}))
    node.await_boot()
    assert node.carrier("tap0")
    assert not node.carrier("tap1")


@pytest.mark.parametrize(("wanted", "told"), [(True, not os.path.exists(VHOST)), (False, False)])
def test_a_node_without_vhost_says_so(pair: Pair, wanted: bool, told: bool) -> None:
    """Whoever starts the guest is told, if the guest was to have it."""
    node = pair[0]
    said: list[Progress] = []
    node.hypervisor.ensure_running(
        node.guest(hvparams={"vhost_net": wanted}), devices=node.devices(),
        interfaces=node.interfaces(), paused=False, scope=TaskScope(said.append),
    )  # fmt: skip
    assert any(VHOST in line.text for line in said) == told


def test_several_queues(pair: Pair) -> None:
    """On a tap that was made for them; without the host's help for each packet, too."""
    node = pair[0]
    node.make_taps(queues=True)
    wanted: dict[str, Value] = {"virtio_net_queues": 2, "vhost_net": False, "vnet_hdr": True}
    run(node, node.guest(hvparams=wanted))
    node.await_boot()
    assert node.carrier("tap0")


def test_a_guest_may_boot_from_the_network(pair: Pair, disk: Path) -> None:
    """With boot_order=network; where nobody answers, the disk is the next choice."""
    node = pair[0]
    run(node, node.guest(hvparams={"boot_order": "network", "nic_type": "ne2k_isa"}))
    node.await_boot()
    assert boots(disk) == 1


@pytest.mark.parametrize("user", ["", "nobody"])
def test_a_nic_is_plugged_in_and_out(pair: Pair, user: str) -> None:
    """Each once, however often it is asked for; also into a QEMU that may not open a tap."""
    node, hypervisor = pair[0], pair[0].hypervisor
    wanted: dict[str, Value] = {}
    if user:
        wanted = {"security_model": "user", "security_domain": user}
    spec = node.guest(hvparams=wanted)
    more = msgspec.structs.replace(spec, nics=(*spec.nics, SECOND))
    with pytest.raises(NoSuchThing):
        hypervisor.plug_nic(more, "n2", interface="tap1")
    run(node, spec)
    node.await_boot()
    with node.inside():
        for _ in range(2):
            hypervisor.plug_nic(more, "n2", interface="tap1")
    assert node.carrier("tap1")
    for _ in range(2):
        hypervisor.unplug_nic(GUEST, "n2", scope=TaskScope())
    assert not node.carrier("tap1")
    assert node.carrier("tap0")


def test_a_migration_over_a_network(pair: Pair, disk: Path) -> None:
    """A guest with a NIC, one of two plugged in, goes to a node elsewhere and counts on there."""
    one, two = pair
    run(one)
    with one.console() as console:
        before = console.tick()
    spec = one.guest()
    more = msgspec.structs.replace(spec, nics=(*spec.nics, SECOND), generation=2)
    with one.inside():
        one.hypervisor.plug_nic(more, "n2", interface="tap1")
    two.hypervisor.prepare(
        more, devices=two.devices(), interfaces=("tap0", "tap1"), address=two.address,
        running=one.hypervisor.describe(more), scope=TaskScope(),
    )  # fmt: skip
    send(one, two, more)
    for node in pair:
        finish(node, pair, more, succeeded=True)
    assert (running(one), running(two)) == ([], [(GUEST, 2)])
    with two.console() as console:
        assert console.tick() > before
    assert boots(disk) == 1
    assert (one.carrier("tap1"), two.carrier("tap1")) == (False, True)


def test_what_goes_away_again_comes_back(pair: Pair) -> None:
    """A target that was prepared and is not needed leaves the taps free."""
    one, two = pair
    run(one)
    prepare(two, one.guest(generation=2), running=one.hypervisor.describe(one.guest()))
    assert two.carrier("tap0")
    finish(two, pair, one.guest(generation=2), succeeded=False)
    assert not two.carrier("tap0")
