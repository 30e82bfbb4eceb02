"""Taps of guests, in a network namespace of the test: the contract, and what only they do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from nodeagent.calls import InstanceSpec, NetworkSpec, NicSpec
from nodeagent.errors import CommandFailed, Missing, StateMismatch, Stopped
from nodeagent.network.scripts import SiteScripts
from nodeagent.network.taps import Taps, interface_name
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_network import I1, I2, SCOPE, NetworkContract, nic, routed
from tests.nodeagent.namespaces import Inside, Namespace, needs_root, with_bridge

pytestmark = [pytest.mark.acceptance, needs_root]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = with_bridge()
    yield namespace
    namespace.close()


@pytest.fixture
def scripts(tmp_path: Path) -> SiteScripts:
    return SiteScripts([tmp_path / "network"], tmp_path / "kvm-vif-bridge")


@pytest.fixture
def driver(namespace: Namespace, tmp_path: Path, scripts: SiteScripts) -> Inside:
    return Inside(namespace, Taps(tmp_path / "told", scripts))


@pytest.fixture
def interfaces(driver: Taps) -> Callable[[], tuple[str, ...]]:
    return lambda: driver.interfaces("i1")


class TestTaps(NetworkContract):
    """Real taps on a real bridge."""


def seen(namespace: Namespace, name: str) -> dict[str, object]:
    """What `ip` says of an interface."""
    found: list[dict[str, object]] = json.loads(namespace.ip(f"-json -details link show {name}"))
    return found[0]


def site_script(tmp_path: Path, mode: str, action: str, body: str) -> None:
    path = tmp_path / "network" / mode / action
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_bridged_tap_is_a_port_like_the_others(namespace: Namespace, driver: Taps) -> None:
    """It is up, has the bridge's MTU, and its MAC can never become the bridge's."""
    namespace.ip("link set br0 mtu 1400")
    name = driver.ensure_up(I1, nic(), scope=SCOPE)
    tap = seen(namespace, name)
    assert (tap["master"], tap["mtu"], tap["address"]) == ("br0", 1400, "fe:00:00:00:00:00")
    assert "UP" in str(tap["flags"])
    assert tap["ifalias"].startswith("cairn i1 nic0 ")  # type: ignore[attr-defined]  # JSON


def test_a_tap_that_was_taken_off_its_bridge_is_put_back(
    namespace: Namespace, driver: Taps
) -> None:
    """The wanted result is looked at, not remembered."""
    name = driver.ensure_up(I1, nic(), scope=SCOPE)
    namespace.ip(f"link set {name} nomaster")
    driver.ensure_up(I1, nic(), scope=SCOPE)
    assert seen(namespace, name)["master"] == "br0"


def test_a_nic_moves_to_another_bridge(namespace: Namespace, driver: Taps) -> None:
    """The tap stays the same one, so the guest keeps it."""
    namespace.ip("link add br1 type bridge")
    name = driver.ensure_up(I1, nic(), scope=SCOPE)
    index = seen(namespace, name)["ifindex"]
    assert driver.ensure_up(I1, nic(link="br1"), scope=SCOPE) == name
    assert (seen(namespace, name)["master"], seen(namespace, name)["ifindex"]) == ("br1", index)


def test_a_half_made_tap_is_made_whole(namespace: Namespace, driver: Taps) -> None:
    """What an agent left that died before it had connected the tap."""
    name = interface_name("nic0")
    namespace.ip(f"tuntap add {name} mode tap")
    assert driver.ensure_up(I1, nic(), scope=SCOPE) == name
    assert seen(namespace, name)["master"] == "br0"


def test_a_strangers_interface_is_never_taken(namespace: Namespace, driver: Taps) -> None:
    """One of that name which somebody has marked otherwise, or which is another instance's."""
    name = interface_name("nic0")
    namespace.ip(f"tuntap add {name} mode tap")
    namespace.ip(f"link set {name} alias mine")
    with pytest.raises(StateMismatch, match="mine"):
        driver.ensure_up(I1, nic(), scope=SCOPE)
    namespace.ip(f"link del {name}")
    driver.ensure_up(I2, nic(), scope=SCOPE)
    with pytest.raises(StateMismatch, match="instance i2"):
        driver.ensure_up(I1, nic(), scope=SCOPE)


def test_what_is_no_bridge_is_refused(namespace: Namespace, driver: Taps) -> None:
    """And so is a VLAN on a bridge that does not filter any; bridges that are there are told."""
    with pytest.raises(Missing, match="no bridge: 'lo'") as refused:
        driver.ensure_up(I1, nic(link="lo"), scope=SCOPE)
    assert "br0" in refused.value.hint
    with pytest.raises(StateMismatch, match="does not filter VLANs") as unfiltered:
        driver.ensure_up(I1, msgspec.structs.replace(nic(), vlan=".10"), scope=SCOPE)
    assert "vlan_filtering 1" in unfiltered.value.hint
    namespace.ip("link del br0")
    with pytest.raises(Missing, match="br0") as none:
        driver.ensure_up(I1, nic(), scope=SCOPE)
    assert "no bridge" in none.value.hint


@pytest.mark.parametrize(
    ("ip", "family", "answers"),
    [("192.0.2.10", "ipv4", "proxy_arp"), ("2001:db8::10", "ipv6", "proxy_ndp")],
)
def test_a_routed_guest_gets_what_is_for_it(
    namespace: Namespace, driver: Taps, ip: str, family: str, answers: str
) -> None:
    """A route to its address in the named table, and a node that forwards and answers for it."""
    name = driver.ensure_up(I1, routed(ip, link="100"), scope=SCOPE)
    version = "-6" if family == "ipv6" else "-4"
    assert f"dev {name}" in namespace.ip(f"{version} route show table 100 {ip}")
    for setting in ("forwarding", answers):
        value = namespace.run(["cat", f"/proc/sys/net/{family}/conf/{name}/{setting}"])
        assert value == "1\n"
    driver.ensure_up(I1, nic(), scope=SCOPE)  # made a bridged one
    assert namespace.ip(f"{version} route show table all {ip}") == ""
    assert seen(namespace, name)["master"] == "br0"


def test_nothing_is_routed_to_a_guest_that_is_not_here_yet(
    namespace: Namespace, driver: Taps
) -> None:
    """Until it has arrived another node answers for its address."""
    driver.ensure_up(I1, routed(), scope=SCOPE, incoming=True)
    assert namespace.ip("route show 192.0.2.10") == ""
    driver.ensure_up(I1, routed(), scope=SCOPE)
    assert namespace.ip("route show 192.0.2.10") != ""


def test_an_unknown_table_is_named(driver: Taps, interfaces: Callable[[], object]) -> None:
    """And nothing is left."""
    with pytest.raises(Missing, match="'guests'"):
        driver.ensure_up(I1, routed(link="guests"), scope=SCOPE)
    assert interfaces() == ()


def test_several_queues_need_a_tap_of_their_own(namespace: Namespace, driver: Taps) -> None:
    """It is made with them, and never changed under a guest that runs."""
    many = msgspec.structs.replace(I1, hvparams={"virtio_net_queues": 4})
    name = driver.ensure_up(many, nic(), scope=SCOPE)
    assert '"multi_queue":true' in json.dumps(seen(namespace, name), separators=(",", ":"))
    with pytest.raises(StateMismatch, match="queues"):
        driver.ensure_up(I1, nic(), scope=SCOPE)


NETWORK = NetworkSpec(
    uuid="net-uuid", name="lan", subnet="192.0.2.0/24", gateway="192.0.2.1",
    mac_prefix="aa:00:01", tags=("a", "b"),
)  # fmt: skip
NIC: NicSpec = msgspec.structs.replace(
    nic(), ip="192.0.2.10", vlan="10", name="front", network="net-uuid", network_spec=NETWORK
)
TAGGED: InstanceSpec = msgspec.structs.replace(I1, tags=("web", "gold"))


def test_a_sites_script_connects_instead(
    namespace: Namespace, driver: Taps, tmp_path: Path
) -> None:
    """It sees exactly Ganeti's variables; the driver has made the tap and set it up."""
    site_script(tmp_path, "bridged", "up", f"env | sort > {tmp_path}/up; ip link show $INTERFACE")
    site_script(tmp_path, "bridged", "down", f"env | sort > {tmp_path}/down; exit 3")
    name = driver.ensure_up(TAGGED, NIC, scope=SCOPE)
    given = dict(line.split("=", 1) for line in (tmp_path / "up").read_text().splitlines())
    assert given == {
        "PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "PWD": "/", "ACTION": "up",
        "INSTANCE": "i1.example.net", "TAGS": "web gold", "MAC": "aa:00:00:00:00:00",
        "MODE": "bridged", "LINK": "br0", "BRIDGE": "br0", "VLAN": "10", "IP": "192.0.2.10",
        "INTERFACE": name, "INTERFACE_INDEX": "0", "INTERFACE_UUID": "nic0",
        "INTERFACE_NAME": "front", "NETWORK_NAME": "lan", "NETWORK_UUID": "net-uuid",
        "NETWORK_TAGS": "a b", "NETWORK_SUBNET": "192.0.2.0/24", "NETWORK_GATEWAY": "192.0.2.1",
        "NETWORK_MAC_PREFIX": "aa:00:01",
    }  # fmt: skip
    assert "master" not in seen(namespace, name)
    driver.ensure_down("i1", scope=SCOPE)  # a script that fails there stops nothing
    taken = dict(line.split("=", 1) for line in (tmp_path / "down").read_text().splitlines())
    assert taken == {**given, "ACTION": "down"}
    assert driver.interfaces("i1") == ()


def test_a_script_runs_once_for_a_connection(driver: Taps, tmp_path: Path) -> None:
    """A repeated call does not run it again; a change of the NIC does."""
    site_script(tmp_path, "bridged", "up", f"echo up $LINK >> {tmp_path}/log")
    site_script(tmp_path, "bridged", "down", f"echo down $LINK >> {tmp_path}/log")
    for link in ("br0", "br0", "br1"):
        driver.ensure_up(I1, nic(link=link), scope=SCOPE)
    assert (tmp_path / "log").read_text() == "up br0\ndown br0\nup br1\n"


def test_a_script_of_a_routed_nic_waits_for_the_guest(driver: Taps, tmp_path: Path) -> None:
    """It runs once the guest has arrived, and knows why."""
    site_script(tmp_path, "routed", "up", f"echo $MIGRATION_PHASE > {tmp_path}/phase")
    driver.ensure_up(I1, routed(), scope=SCOPE, incoming=True)
    assert not (tmp_path / "phase").exists()
    driver.ensure_up(I1, routed(), scope=SCOPE)
    assert (tmp_path / "phase").read_text() == "post\n"


def test_a_script_that_fails_shows_what_it_said(
    driver: Taps, tmp_path: Path, interfaces: Callable[[], object]
) -> None:
    """And nothing is left behind; the older override counts where there is no newer script."""
    override = tmp_path / "kvm-vif-bridge"
    override.write_text("#!/bin/sh\necho no such switch; exit 4\n")
    override.chmod(0o755)
    with pytest.raises(CommandFailed) as failed:
        driver.ensure_up(I1, nic(), scope=SCOPE)
    assert "no such switch" in failed.value.output
    assert failed.value.exit_status == 4
    assert interfaces() == ()


def test_a_script_that_hangs_ends_with_its_task(
    driver: Taps, tmp_path: Path, interfaces: Callable[[], object]
) -> None:
    """It is killed, what it said is shown, and nothing is left behind."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    site_script(tmp_path, "bridged", "up", f"echo waiting; echo begun >{begun}; sleep 60")
    scope = TaskScope()

    def stop() -> None:
        begun.read_text()  # returns once the script has written
        scope.stop("timeout", "not done in 5 s")

    waiting = threading.Thread(target=stop)
    waiting.start()
    with pytest.raises(Stopped, match="killed half-way") as stopped:
        driver.ensure_up(I1, nic(), scope=scope)
    waiting.join()
    assert stopped.value.failure().code == "timeout"
    assert "waiting" in stopped.value.output
    assert interfaces() == ()
