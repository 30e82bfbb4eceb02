"""What a routed interface needs of the kernel beside its route: tables by name, forwarding (edge).

Source: ip-route(8), "table"; Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from nodeagent.errors import Missing

_MAIN, _LARGEST_TABLE = 254, (1 << 32) - 1
_TABLES = Path("/etc/iproute2")
_SETTINGS = Path("/proc/sys/net")


def table_number(name: str, *, directory: Path = _TABLES) -> int:
    """Return the number of a routing table; none named is the main one.

    Raises Missing for a name that neither is a number nor stands in `rt_tables`.
    """
    if not name:
        return _MAIN
    if name.isascii() and name.isdigit() and 0 < int(name) <= _LARGEST_TABLE:
        return int(name)
    known = _named(directory)
    if name in known:
        return known[name]
    names = ", ".join(sorted(known)) or "none"
    raise Missing(
        f"there is no routing table {name!r} on this node",
        hint=f"name it in {directory}/rt_tables; it has: {names}",
    )


def forward(
    interface: str, address: IPv4Address | IPv6Address, *, settings: Path = _SETTINGS
) -> None:
    """Forward what comes from this interface, and answer there for the addresses of others.

    Raises Missing if the kernel does not offer that.
    """
    conf = settings / f"ipv{address.version}" / "conf" / interface
    for name in ("forwarding", "proxy_arp" if address.version == 4 else "proxy_ndp"):
        try:
            (conf / name).write_text("1\n")
        except OSError as failed:
            raise Missing(
                f"{conf / name} cannot be set: {failed.strerror}",
                hint=f"the agent must be root, with IPv{address.version} in the kernel",
            ) from None


def _named(directory: Path) -> dict[str, int]:
    """Return the tables that have names; a later file has precedence."""
    found: dict[str, int] = {}
    files = [directory / "rt_tables", *sorted((directory / "rt_tables.d").glob("*.conf"))]
    for path in files:
        text = path.read_text(errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[0].isascii() and words[0].isdigit():
                found[words[1]] = int(words[0])
    return found
