"""Opening a tap that exists, for a QEMU that may not do it itself (edge).

Source: the kernel's Documentation/networking/tuntap.rst, linux/if_tun.h.
"""

from __future__ import annotations

import fcntl
import os
import struct

from nodeagent.errors import Missing

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100


def open_tap(interface: str, *, several: bool, header: bool) -> int:
    """Return a handle of one queue of a tap. `several`: it was made for several queues."""
    flags = _IFF_TAP | _IFF_NO_PI
    flags |= (_IFF_MULTI_QUEUE if several else 0) | (_IFF_VNET_HDR if header else 0)
    try:
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as failed:
        raise Missing(f"/dev/net/tun: {failed.strerror}", hint="modprobe tun") from None
    try:
        fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), flags))
    except OSError as failed:
        os.close(handle)
        raise Missing(
            f"the tap {interface} cannot be opened: {failed.strerror}",
            hint="was it made for the same number of queues?",
        ) from None
    return handle
