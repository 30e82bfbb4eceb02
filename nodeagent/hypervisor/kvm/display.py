"""Screen, keyboard, mouse, sound and other USB devices of a guest (pure).

VNC and SPICE listen on the port that the cluster has set aside for the instance (`network_port`).
VNC counts displays from 5900; a directory as its address gives a socket there instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from nodeagent.calls import InstanceSpec
from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm.parameters import Parameters, is_address

VNC_BASE_PORT = 5900
_VGA = {
    "std": "VGA", "cirrus": "cirrus-vga", "vmware": "vmware-svga", "qxl": "qxl-vga",
    "virtio": "virtio-vga",
}  # fmt: skip
_SOUND = {
    "ac97": ("AC97",), "adlib": ("adlib",), "cs4231a": ("cs4231a",), "es1370": ("ES1370",),
    "gus": ("gus",), "hda": ("intel-hda", "hda-duplex"), "sb16": ("sb16",),
}  # fmt: skip
_USB = {
    "tablet": "usb-tablet",
    "mouse": "usb-mouse",
    "keyboard": "usb-kbd",
}
_HOST_ADDRESS = re.compile(r"host:(\d+)\.(\d+)")
_HOST_PRODUCT = re.compile(r"host:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})")


def arguments(instance: InstanceSpec, found: Parameters, spice_tls: str) -> Iterator[str]:
    """Yield the arguments. Raises BadCall."""
    yield from ("-display", "none")
    shown = bool(found.vnc_bind_address or found.spice_bind)
    vga = found.vga or (("qxl" if found.spice_bind else "std") if shown else "none")
    if vga != "none":
        yield from ("-device", _VGA[vga])
    if found.vnc_bind_address:
        yield from _vnc(instance, found)
    if found.spice_bind:
        yield from ("-spice", ",".join(_spice(instance, found, spice_tls)))
    if found.keymap:
        yield from ("-k", found.keymap)
    if found.usb_mouse:
        yield from ("-device", _USB[found.usb_mouse])
    for device in re.split(r"[,\s]+", found.usb_devices.strip(", ")):
        if device:
            yield from ("-device", _usb(device))
    if found.soundhw:
        yield from ("-audiodev", f"{'spice' if found.spice_bind else 'none'},id=sound")
        *controllers, player = _SOUND[found.soundhw]
        for controller in controllers:
            yield from ("-device", controller)
        yield from ("-device", f"{player},audiodev=sound")


def _port(instance: InstanceSpec) -> int:
    if instance.network_port is None:
        raise BadCall(
            f"{instance.name} has no port for its screen", hint="it is given one when it is created"
        )
    return instance.network_port


def _vnc(instance: InstanceSpec, found: Parameters) -> Iterator[str]:
    where = found.vnc_bind_address
    if where.startswith("/"):
        options = [f"unix:{where}/{instance.name}.vnc"]
    else:
        display = _port(instance) - VNC_BASE_PORT
        if display < 0:
            raise BadCall(
                f"port {instance.network_port} is below {VNC_BASE_PORT}, where VNC begins",
                hint="gnt-cluster modify: the pool of ports",
            )
        host = f"[{where}]" if ":" in where else where
        options = [f"{host}:{display}"]
    if found.vnc_password_file:
        options.append("password=on")
    if found.vnc_tls:
        yield from ("-object", _vnc_credentials(found))
        options.append("tls-creds=vnctls")
    yield from ("-vnc", ",".join(options))


def _vnc_credentials(found: Parameters) -> str:
    if not found.vnc_x509_path:
        return "tls-creds-anon,id=vnctls,endpoint=server"
    verify = "on" if found.vnc_x509_verify else "off"
    path = found.vnc_x509_path
    return f"tls-creds-x509,id=vnctls,endpoint=server,dir={path},verify-peer={verify}"


def _spice(instance: InstanceSpec, found: Parameters, tls: str) -> Iterator[str]:
    port = _port(instance)
    yield f"addr={found.spice_bind}"
    yield from _spice_family(found)
    if found.spice_use_tls:
        yield f"tls-port={port},x509-dir={tls},tls-ciphers={found.spice_tls_ciphers}"
        yield "tls-channel=default"
    else:
        yield f"port={port}"
    yield f"disable-ticketing={'off' if found.spice_password_file else 'on'}"
    for name, value in (
        ("image-compression", found.spice_image_compression),
        ("jpeg-wan-compression", found.spice_jpeg_wan_compression),
        ("zlib-glz-wan-compression", found.spice_zlib_glz_wan_compression),
        ("streaming-video", found.spice_streaming_video),
    ):
        if value:
            yield f"{name}={value}"
    yield f"playback-compression={'on' if found.spice_playback_compression else 'off'}"
    yield f"agent-mouse={'on' if found.spice_use_vdagent else 'off'}"


def _spice_family(found: Parameters) -> Iterator[str]:
    """An address says what it is; an interface or a name needs to be told which is meant."""
    version = found.spice_ip_version
    if is_address(found.spice_bind):
        given = ipaddress.ip_address(found.spice_bind).version
        if version not in (0, given):
            raise BadCall(
                f"spice_ip_version={version}, but spice_bind is an address of IPv{given}",
                hint="leave spice_ip_version at 0",
            )
        version = given
    if version:
        yield f"ipv{version}=on"


def _usb(device: str) -> str:
    if device in _USB:
        return _USB[device]
    if match := _HOST_ADDRESS.fullmatch(device):
        return f"usb-host,hostbus={match[1]},hostaddr={match[2]}"
    if match := _HOST_PRODUCT.fullmatch(device):
        return f"usb-host,vendorid=0x{match[1]},productid=0x{match[2]}"
    raise BadCall(
        f"usb_devices: QEMU has no {device!r}",
        hint=f"give {', '.join(_USB)}, host:BUS.ADDRESS or host:VENDOR:PRODUCT",
    )
