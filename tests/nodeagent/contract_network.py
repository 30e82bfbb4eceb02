"""What every network driver promises. A driver's tests subclass this and give it the fixtures."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from nodeagent.calls import NicSpec
from nodeagent.errors import BadCall, Missing
from nodeagent.network.contract import AddressDriver, NetworkDriver
from nodeagent.task_scope import TaskScope
from tests.nodeagent.specs import instance

Interfaces = Callable[[], tuple[str, ...]]
SCOPE = TaskScope()
I1, I2 = instance(uuid="i1"), instance(uuid="i2")


def nic(number: int = 0, link: str = "br0") -> NicSpec:
    """An interface of instance i1."""
    mac = f"aa:00:00:00:00:0{number}"
    return NicSpec(uuid=f"nic{number}", index=number, mac=mac, mode="bridged", link=link)


def routed(ip: str = "192.0.2.10", link: str = "") -> NicSpec:
    """An interface of instance i1 that is routed."""
    return msgspec.structs.replace(nic(), mode="routed", ip=ip, link=link)


class NetworkContract:
    """Fixtures: `driver`, on a node whose only link is br0; `interfaces`, which names those of
    instance i1 that are there."""

    def test_an_interface_is_made_once(self, driver: NetworkDriver, interfaces: Interfaces) -> None:
        """Asked twice, there is one, and its name is the same."""
        made = {driver.ensure_up(I1, nic(), scope=SCOPE) for _ in range(2)}
        assert made == set(interfaces())
        assert len(made) == 1

    def test_each_nic_has_its_own(self, driver: NetworkDriver, interfaces: Interfaces) -> None:
        """Two NICs are two interfaces, and all of an instance go at once, twice if asked twice."""
        made = {driver.ensure_up(I1, nic(number), scope=SCOPE) for number in range(2)}
        other = driver.ensure_up(I2, nic(2), scope=SCOPE)
        assert len(made) == 2
        assert other not in made
        assert driver.instances() == ("i1", "i2")
        for _ in range(2):
            driver.ensure_down("i1", scope=SCOPE)
        assert interfaces() == ()
        driver.ensure_down("i2", scope=SCOPE)
        assert driver.instances() == ()

    def test_one_nic_goes_alone(self, driver: NetworkDriver, interfaces: Interfaces) -> None:
        """The others of the instance stay."""
        first, second = (driver.ensure_up(I1, nic(number), scope=SCOPE) for number in range(2))
        for _ in range(2):
            driver.ensure_down("i1", nic="nic0", scope=SCOPE)
        assert first not in interfaces()
        assert interfaces() == (second,)

    def test_an_arriving_guest_keeps_its_interface(
        self, driver: NetworkDriver, interfaces: Interfaces
    ) -> None:
        """It is the same one before and after it has arrived."""
        before = driver.ensure_up(I1, routed(), scope=SCOPE, incoming=True)
        assert driver.ensure_up(I1, routed(), scope=SCOPE) == before
        assert interfaces() == (before,)

    def test_an_unknown_link_is_refused_with_the_known_ones(
        self, driver: NetworkDriver, interfaces: Interfaces
    ) -> None:
        """Nothing is left behind."""
        with pytest.raises(Missing, match="br7") as refused:
            driver.ensure_up(I1, nic(link="br7"), scope=SCOPE)
        assert "br0" in refused.value.hint
        assert interfaces() == ()

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"mac": "aa:00:00:00:00"}, "MAC"),
            ({"mac": "01:00:00:00:00:01"}, "MAC"),
            ({"ip": "192.0.2.300"}, "IP address"),
            ({"mode": "routed"}, "IP address"),
            ({"link": ""}, "link"),
            ({"vlan": "4095"}, "VLAN"),
            ({"vlan": "0"}, "VLAN"),
            ({"vlan": ".10.20"}, "VLAN"),
            ({"vlan": "lan"}, "VLAN"),
            ({"mode": "routed", "ip": "192.0.2.1", "vlan": "10"}, "VLAN"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self,
        driver: NetworkDriver,
        interfaces: Interfaces,
        change: dict[str, str],
        problem: str,
    ) -> None:
        """Addresses, VLANs and combinations that make no sense; nothing is left behind."""
        wrong = msgspec.structs.replace(nic(), **change)
        with pytest.raises(BadCall, match=problem):
            driver.ensure_up(I1, wrong, scope=SCOPE)
        assert interfaces() == ()

    def test_it_says_what_it_needs(self, driver: NetworkDriver) -> None:
        """A driver that works lacks nothing, and serves bridged NICs."""
        assert driver.needs() == ()
        assert "bridged" in driver.modes

    def test_it_tells_its_bridges(self, driver: NetworkDriver) -> None:
        """Those that a bridged NIC can be connected to."""
        assert driver.bridges() == ("br0",)


class AddressContract:
    """Fixtures: `driver`, on a node with the link br0, and `other`, a node on the same wire."""

    def test_an_address_is_taken_and_given_up(self, driver: AddressDriver) -> None:
        """Each twice; nobody else had it."""
        for _ in range(2):
            assert driver.ensure_address("192.0.2.9", prefix=24, device="br0") == ()
            assert driver.holds("192.0.2.9")
        for _ in range(2):
            driver.ensure_no_address("192.0.2.9", device="br0")
            assert not driver.holds("192.0.2.9")

    def test_who_else_has_it_is_told(self, driver: AddressDriver, other: AddressDriver) -> None:
        """It is taken all the same, and is the other's no more once that one gives it up."""
        other.ensure_address("192.0.2.9", prefix=24, device="br0")
        assert len(driver.ensure_address("192.0.2.9", prefix=24, device="br0")) == 1
        assert driver.holds("192.0.2.9")
        other.ensure_no_address("192.0.2.9", device="br0")
        assert driver.ensure_address("192.0.2.9", prefix=24, device="br0") == ()

    def test_a_device_that_is_not_there_is_refused(self, driver: AddressDriver) -> None:
        """Giving an address up there is no error."""
        with pytest.raises(Missing, match="br7"):
            driver.ensure_address("192.0.2.9", prefix=24, device="br7")
        driver.ensure_no_address("192.0.2.9", device="br7")
        assert not driver.holds("192.0.2.9")

    @pytest.mark.parametrize(("address", "prefix"), [("nowhere", 24), ("192.0.2.9", 33)])
    def test_what_is_no_address_is_refused(
        self, driver: AddressDriver, address: str, prefix: int
    ) -> None:
        """The call makes no sense on any node."""
        with pytest.raises(BadCall):
            driver.ensure_address(address, prefix=prefix, device="br0")
