"""The master's address on real interfaces: two network namespaces on one wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from nodeagent.errors import Missing
from nodeagent.network.master_address import MasterAddress
from tests.nodeagent.contract_network import AddressContract
from tests.nodeagent.namespaces import Inside, Namespace, needs_root, with_bridge

pytestmark = [pytest.mark.acceptance, needs_root]
FAMILIES = pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])


@pytest.fixture
def here() -> Iterator[Namespace]:
    namespace = with_bridge()
    yield namespace
    namespace.close()


@pytest.fixture
def there(here: Namespace) -> Iterator[Namespace]:
    namespace = with_bridge()
    here.connect(namespace)
    yield namespace
    namespace.close()


@pytest.fixture
def driver(here: Namespace) -> Inside:
    return Inside(here, MasterAddress())


@pytest.fixture
def other(there: Namespace) -> Inside:
    return Inside(there, MasterAddress())


class TestMasterAddress(AddressContract):
    """Real addresses."""


def mac_of(namespace: Namespace) -> str:
    (bridge,) = json.loads(namespace.ip("-json link show br0"))
    return str(bridge["address"])


@FAMILIES
def test_the_other_holder_is_named_by_its_mac(
    there: Namespace, driver: MasterAddress, other: MasterAddress, address: str
) -> None:
    """IPv4 and IPv6; the address is there at once, not only when the kernel has asked around."""
    other.ensure_address(address, prefix=24, device="br0")
    assert driver.ensure_address(address, prefix=24, device="br0") == (mac_of(there),)
    assert driver.holds(address)


@FAMILIES
def test_neighbours_learn_the_new_place(
    here: Namespace, there: Namespace, driver: MasterAddress, address: str
) -> None:
    """Their tables still name the old master's card, and then name this node's."""
    family = "ipv6" if ":" in address else "ipv4"
    there.run(["sh", "-c", f"echo 0 > /proc/sys/net/{family}/neigh/br0/locktime"])
    there.ip("address add 192.0.2.1/24 dev br0")
    there.ip(f"neigh replace {address} lladdr 02:00:00:00:00:01 dev br0 nud stale")
    with there.reading(["ip", "monitor", "neigh"]) as news:
        driver.ensure_address(address, prefix=24, device="br0")
        assert any(address in line and mac_of(here) in line for line in news)


def test_the_address_has_its_network(here: Namespace, driver: MasterAddress) -> None:
    """It is added with its prefix, and removed whatever prefix it has."""
    driver.ensure_address("192.0.2.9", prefix=24, device="br0")
    assert "192.0.2.9/24" in here.ip("-brief address show br0")
    driver.ensure_no_address("192.0.2.9", device="br0")
    here.ip("address add 192.0.2.9/32 dev br0")
    driver.ensure_no_address("192.0.2.9", device="br0")
    assert "192.0.2.9" not in here.ip("-brief address show br0")


def test_a_link_without_neighbours_can_hold_it(driver: MasterAddress) -> None:
    """Nobody is asked or told there."""
    assert driver.ensure_address("192.0.2.9", prefix=32, device="lo") == ()
    assert driver.holds("192.0.2.9")


def test_a_link_that_is_down_is_refused(here: Namespace, driver: MasterAddress) -> None:
    """The address would be there and nobody could reach it."""
    here.ip("link set br0 down")
    with pytest.raises(Missing, match="br0 is down"):
        driver.ensure_address("192.0.2.9", prefix=24, device="br0")
    assert not driver.holds("192.0.2.9")
