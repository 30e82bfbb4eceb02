"""Parameters in force: the nearest setting wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections import ipolicy, params
from projections.cluster import Cluster
from projections.objects import ClusterInfo, Group, Instance, Nic, Node

INFO = ClusterInfo(
    uuid="c",
    name="town",
    beparams={"vcpus": 2, "maxmem": 1024},
    nicparams={"link": "br1"},
    ndparams={"ssh_port": 23},
    hvparams={"kvm": {"acpi": False, "boot_order": "network"}},
    os_hvp={
        "debian": {"kvm": {"boot_order": "cdrom"}},
        "debian+slim": {"kvm": {"kernel_args": "x"}},
    },
    osparams={"debian": {"dhcp": "no", "size": "1"}},
    diskparams={"drbd": {"protocol": "B", "metavg": "meta"}},
)


def town() -> Cluster:
    """Return a cluster with settings on every level."""
    cluster = Cluster().put("cluster", "c", INFO, 1)
    group = Group(
        uuid="g",
        name="default",
        ndparams={"cpu_speed": 2.0},
        diskparams={"drbd": {"protocol": "A"}},
    )
    node = Node(uuid="n", name="node1", group="g", ndparams={"cpu_speed": 3.0})
    return cluster.put("group", "g", group, 2).put("node", "n", node, 3)


def instance(**fields: object) -> Instance:
    """Return an instance on kvm with an OS variant."""
    return Instance(
        **{  # type: ignore[arg-type]
            "uuid": "i",
            "name": "web",
            "primary": "n",
            "os": "debian+slim",
            "hypervisor": "kvm",
            "template": "drbd",
            **fields,
        }
    )


def test_backend_parameters_come_from_the_instance_then_the_cluster() -> None:
    """What neither sets has Ganeti's default."""
    filled = params.of_instance(town(), instance(beparams={"maxmem": 512}))
    assert (filled["maxmem"], filled["vcpus"], filled["minmem"]) == (512, 2, 128)


def test_hypervisor_parameters_pass_through_the_os_and_its_variant() -> None:
    """Default, cluster, OS, variant, instance."""
    filled = params.of_hypervisor(town(), instance(hvparams={"disk_cache": "none"}))
    assert filled["acpi"] is False
    assert filled["boot_order"] == "cdrom"
    assert filled["kernel_args"] == "x"
    assert filled["disk_cache"] == "none"
    assert filled["vhost_net"] is True


def test_an_unknown_hypervisor_has_only_what_is_set() -> None:
    """An old log may name one that this version does not have."""
    assert params.hypervisor(INFO, "vax", "", {"a": 1}) == {"a": 1}


def test_nodes_inherit_from_their_group() -> None:
    """Node, group, cluster, default."""
    filled = params.of_node(town(), town().nodes["n"])
    assert (filled["cpu_speed"], filled["ssh_port"], filled["spindle_count"]) == (3.0, 23, 1)


def test_disks_inherit_from_the_group_of_the_primary() -> None:
    """Disk, group, cluster, default."""
    filled = params.storage(town(), "g", "drbd", {"resync-rate": 7})
    assert (filled["protocol"], filled["metavg"], filled["resync-rate"]) == ("A", "meta", 7)
    assert filled["data-stripes"] == 1


def test_interfaces_and_os_parameters_inherit() -> None:
    """Of the cluster; a variant has those of its OS."""
    filled = params.of_nic(town(), Nic(uuid="x", mac="", params={"mode": "routed"}))
    assert filled == {"mode": "routed", "link": "br1", "vlan": ""}
    assert params.of_os(INFO, "debian+slim", {"size": "2"}) == {"dhcp": "no", "size": "2"}


@pytest.mark.parametrize("name", sorted(params.tables().hvparams))
def test_every_default_is_possible(name: str) -> None:
    """A default is one of the choices and within the limits, or empty."""
    for parameter in params.tables().hvparams[name].values():
        default = parameter.default
        assert not parameter.choices or not default or default in parameter.choices
        if isinstance(default, int) and not isinstance(default, bool):
            assert parameter.ge is None or default >= parameter.ge
            assert parameter.le is None or default <= parameter.le


GANETI = msgspec.json.decode(Path(__file__).with_name("ganeti_parameters.json").read_bytes())


def described(table: params.Table) -> dict[str, list[Any]]:
    """Return a table as the list of Ganeti's parameters has it."""
    return {
        name: [each.type, each.default, each.required, list(each.choices)]
        for name, each in table.items()
    }


def exact(value: object) -> bytes:
    """Return a value so that 1, 1.0 and True differ."""
    return msgspec.json.encode(value, order="sorted")


@pytest.mark.parametrize("kind", ["beparams", "nicparams", "ndparams"])
def test_parameters_are_ganetis(kind: str) -> None:
    """Each has the name, type, default and choices of Ganeti 3.1; none is missing, none is ours."""
    assert exact(described(getattr(params.tables(), kind))) == exact(GANETI[kind])


@pytest.mark.parametrize("hypervisor", sorted(GANETI["hvparams"]))
def test_parameters_of_hypervisors_are_ganetis(hypervisor: str) -> None:
    """Those of each hypervisor, and which of them only the cluster may set."""
    table = params.tables().hvparams[hypervisor]
    assert exact(described(table)) == exact(GANETI["hvparams"][hypervisor])
    on_cluster = {name for name, each in table.items() if each.cluster_global}
    assert on_cluster == table.keys() & set(GANETI["cluster_global"])


def test_parameters_of_disks_are_ganetis() -> None:
    """Those of each disk template; there are no other templates, and no other hypervisors."""
    tables = params.tables()
    found = {
        template: {name: [each.type, each.default] for name, each in table.items()}
        for template, table in tables.diskparams.items()
    }
    assert exact(found) == exact(GANETI["diskparams"])
    assert tables.hvparams.keys() == GANETI["hvparams"].keys()


def test_the_instance_policy_is_ganetis() -> None:
    """The bounds that hold where nothing is set."""
    found = ipolicy.as_ganeti(ipolicy.DEFAULTS)
    found["disk-templates"] = sorted(ipolicy.DEFAULTS.disk_templates)
    assert exact(found) == exact(GANETI["ipolicy"])
