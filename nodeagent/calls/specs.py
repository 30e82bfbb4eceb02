"""What calls are about: volumes, disks, network interfaces, instances (pure)."""

from __future__ import annotations

import msgspec

from nodeagent.calls.call import Value


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of local storage on one node."""

    name: str  # unique on the node: `<group>/<volume>` for LVM, an absolute path for files
    kind: str  # storage driver: "lvm", "file", "sharedfile"
    size_mib: int
    stripes: int = 1
    exclusive: bool = False  # LVM: on physical volumes that hold nothing else
    spindles: int = 0  # LVM, if exclusive: on so many of them; 0: as few as it takes


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One disk of an instance as one node must hold it."""

    uuid: str
    instance: str  # uuid
    index: int
    template: str  # plain, drbd, file, sharedfile, diskless, ...
    size_mib: int
    volume: VolumeSpec  # the data
    meta: VolumeSpec | None = None  # drbd: external metadata
    minor: int | None = None  # drbd, on this node
    peer: str | None = None  # drbd: uuid of the node that holds the other side; None: stand alone
    peer_address: str = ""  # drbd: where the peer listens
    peer_key: str = ""  # drbd: public key of the peer's agent, Z85; empty: none is asked for
    own_address: str = ""  # drbd: where this node listens; empty: by which it reaches the peer
    port: int | None = None  # drbd, the same on both nodes
    node_id: int | None = None  # drbd 9: the number of this node in the mirror, and of its peer
    peer_node_id: int | None = None
    mode: str = "rw"
    params: dict[str, Value] = {}  # disk parameters, filled (params.json, diskparams)
    name: str = ""
    spindles: int | None = None


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The network that an interface takes part in, for the scripts that ask about it."""

    uuid: str
    name: str
    subnet: str = ""  # in CIDR notation, as subnet6
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""
    mac_prefix: str = ""
    tags: tuple[str, ...] = ()


class NicSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network interface of an instance."""

    uuid: str
    index: int
    mac: str
    ip: str = ""
    mode: str = "bridged"
    link: str = ""
    vlan: str = ""
    network: str = ""  # uuid
    name: str = ""
    network_spec: NetworkSpec | None = None  # of the network, if there is one


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a node must know of an instance to install, start or receive it."""

    uuid: str
    name: str
    generation: int  # rises at each change of primary; a node refuses an older one
    hypervisor: str
    os: str
    memory_mib: int
    min_memory_mib: int
    vcpus: int
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    hvparams: dict[str, Value] = {}  # filled: every parameter of the hypervisor
    beparams: dict[str, Value] = {}  # filled
    osparams: dict[str, str] = {}
    network_port: int | None = None  # where its screen is reached (VNC, SPICE)
    primary: str = ""  # uuid
    secondaries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    ctime: float = 0.0
    mtime: float = 0.0
    uid_pool: tuple[tuple[int, int], ...] = ()  # users whom it may run as: first and last ids
