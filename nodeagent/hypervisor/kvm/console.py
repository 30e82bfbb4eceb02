"""How a person reaches a guest of KVM (pure).

As in Ganeti: the serial console first, by a command on the node; else its VNC screen, else SPICE.
"""

from __future__ import annotations

from nodeagent.calls import ConsoleSeen, InstanceSpec
from nodeagent.hypervisor.kvm.display import VNC_BASE_PORT
from nodeagent.hypervisor.kvm.parameters import Parameters
from nodeagent.hypervisor.kvm.records import Place

_ESCAPE = "0x1d"  # control and ], as telnet has it


def console(instance: InstanceSpec, found: Parameters, place: Place) -> ConsoleSeen:
    """Return how the console of a running guest is reached."""
    if found.serial_console:
        return ConsoleSeen(
            kind="ssh",
            command=(
                "socat", f"STDIO,raw,echo=0,escape={_ESCAPE}", f"UNIX-CONNECT:{place.serial}",
            ),
        )  # fmt: skip
    port = instance.network_port
    if found.vnc_bind_address.startswith("/"):
        where = f"{found.vnc_bind_address}/{instance.name}.vnc"
        return ConsoleSeen(kind="msg", message=f"its VNC screen is the socket {where} on its node")
    if found.vnc_bind_address and port is not None:
        host = _reachable(found.vnc_bind_address)
        return ConsoleSeen(kind="vnc", host=host, port=port, display=port - VNC_BASE_PORT)
    if found.spice_bind and port is not None:
        return ConsoleSeen(kind="spice", host=_reachable(found.spice_bind), port=port)
    return ConsoleSeen(
        kind="msg",
        message="it has no console: set serial_console, vnc_bind_address or spice_bind",
    )


def _reachable(address: str) -> str:
    """Return the address; empty, for that of the node, where it listens on all of them."""
    return "" if address in ("0.0.0.0", "::") else address
