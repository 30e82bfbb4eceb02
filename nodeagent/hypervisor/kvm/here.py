"""What parameters come to on this node (edge)."""

from __future__ import annotations

import os

import msgspec

from nodeagent.hypervisor.kvm import interfaces
from nodeagent.hypervisor.kvm.parameters import Parameters

NO_KVM = (
    "KVM does not work on this node, so guests are emulated, slowly: load kvm_intel or kvm_amd, "
    "and switch on virtualization in the firmware"
)
VHOST = "/dev/vhost-net"
NO_VHOST = f"there is no {VHOST} on this node (modprobe vhost_net): packets go through QEMU, slower"


def on_this_node(found: Parameters) -> Parameters:
    """Return the parameters with what this node makes of them. Raises Missing.

    `spice_bind` may name an interface, whose address it then is. `vhost_net`, which is on unless
    somebody switches it off, is off where the kernel has none: a guest works without, and QEMU 7.2
    breaks down if it is asked for.
    """
    if found.spice_bind and interfaces.exists(found.spice_bind):
        address = interfaces.address_of(found.spice_bind, found.spice_ip_version or 4)
        found = msgspec.structs.replace(found, spice_bind=address)
    if found.vhost_net and not has_vhost():
        found = msgspec.structs.replace(found, vhost_net=False)
    return found


def has_vhost() -> bool:
    """Whether the kernel takes over virtual NICs."""
    return os.path.exists(VHOST)
