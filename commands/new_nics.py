"""Network interfaces that were asked for (pure).

`mac`: `auto` (the default) and `generate` draw one under the cluster's prefix; any other value is
the address itself. `bridge` is Ganeti's old word for `link` of a bridged interface.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from commands import parse
from commands.errors import NOT_UNIQUE, WRONG_INPUT, Refused
from commands.given import Given
from projections import params
from projections.cluster import Cluster
from projections.objects import Nic, Params, Value

MAX_NICS = 8
NicWish = dict[str, Value]  # as in the opcode: mac, ip, mode, link, vlan, name, bridge, network
AUTO, GENERATE = "auto", "generate"
KNOWN = frozenset({"bridge", "ip", "link", "mac", "mode", "name", "network", "vlan"})
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class TakenMacs:
    """The MAC addresses in use: of all instances, open plans, and those added here."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._more = {mac for reserved in cluster.reserved.values() for mac in reserved.macs}

    def __contains__(self, mac: object) -> bool:
        return mac in self._more or any(
            nic.mac == mac for instance in self._cluster.instances.values() for nic in instance.nics
        )

    def add(self, mac: str) -> None:
        """Take one more."""
        self._more.add(mac)


def new_nics(cluster: Cluster, given: Given, wishes: Iterable[NicWish]) -> tuple[Nic, ...]:
    """Return new interfaces. Raises Refused where one makes no sense or its MAC is in use."""
    taken = TakenMacs(cluster)
    nics = tuple(
        new_nic(cluster, given, f"nic/{index}", wish, taken) for index, wish in enumerate(wishes)
    )
    if len(nics) > MAX_NICS:
        raise Refused(
            WRONG_INPUT, f"{len(nics)} interfaces are too many", hint=f"at most {MAX_NICS}"
        )
    return nics


def new_nic(cluster: Cluster, given: Given, label: str, wish: NicWish, taken: TakenMacs) -> Nic:
    """Return one new interface; `label` ("nic/0") tells its draws apart from others."""
    blank = Nic(uuid=given.uuid(label), mac="")
    return changed_nic(cluster, given, label, blank, {"mac": AUTO, **wish}, taken)


def changed_nic(
    cluster: Cluster, given: Given, label: str, nic: Nic, wish: NicWish, taken: TakenMacs
) -> Nic:
    """Return `nic` as `wish` wants it; what is not named stays. Raises Refused."""
    unknown = sorted(set(wish) - KNOWN)
    if unknown:
        raise Refused(
            WRONG_INPUT, f"{label}: unknown setting {unknown[0]}", hint=", ".join(sorted(KNOWN))
        )
    if wish.get("network") not in (None, "", "none"):
        raise Refused(
            WRONG_INPUT,
            f"{label}: networks are not supported yet",
            hint="leave network out, and give mode and link",
        )
    own = parse.modified(nic.params, _params(wish), params.tables().nicparams, label)
    mac = _mac(cluster, given, label, wish["mac"], taken) if wish.get("mac") else nic.mac
    result = Nic(
        uuid=nic.uuid,
        mac=mac,
        ip=_ip(label, wish["ip"]) if "ip" in wish else nic.ip,
        name=str(wish["name"] or "") if "name" in wish else nic.name,
        params=own,
    )
    _check_mode(cluster, label, result)
    return result


def _params(wish: NicWish) -> Params:
    named: Params = {key: wish[key] for key in ("mode", "link", "vlan") if key in wish}
    if wish.get("bridge"):
        named.setdefault("link", wish["bridge"])
    return named


def _check_mode(cluster: Cluster, label: str, nic: Nic) -> None:
    filled = params.of_nic(cluster, nic)
    mode = filled["mode"]
    if mode in ("bridged", "openvswitch") and not filled["link"]:
        raise Refused(
            WRONG_INPUT, f"{label}: a {mode} interface needs a link", hint="link=BRIDGE, or mode"
        )
    if mode == "routed" and not nic.ip:
        raise Refused(
            WRONG_INPUT, f"{label}: a routed interface needs an address", hint="ip=192.0.2.10"
        )
    if mode == "pool":
        raise Refused(
            WRONG_INPUT, f"{label}: pools of links are not supported yet", hint="mode=bridged"
        )


def _mac(cluster: Cluster, given: Given, label: str, value: Value, taken: TakenMacs) -> str:
    text = str(value).strip().lower()
    if text in (AUTO, GENERATE):
        drawn = given.mac(f"mac/{label}", cluster.settings.mac_prefix, taken)
        taken.add(drawn)
        return drawn
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
        raise Refused(
            WRONG_INPUT,
            f"{label}: {value!r} is not the MAC address of an interface",
            hint="auto, or six bytes such as aa:00:00:12:34:56, the first one even",
        )
    if text in taken:
        raise Refused(
            NOT_UNIQUE, f"{label}: MAC address {text} is in use", hint="mac=auto draws one"
        )
    taken.add(text)
    return text


def _ip(label: str, value: Value) -> str:
    text = str(value or "").strip()
    if text in ("", "none"):
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Refused(
            WRONG_INPUT, f"{label}: {text!r} is not an IP address", hint="192.0.2.10, or none"
        ) from None
