"""What DRBD 9 says of itself: `drbdsetup status --json` and `drbdsetup show` (pure).

States are brought into the words of 8.4, of which the driver and the reports speak: there one word
says of a minor what here the connection and, once it stands, the replication say.

    no connection, or StandAlone         StandAlone: DRBD gave up, or was never told to connect
    Connecting                           WFConnection: the peer is looked for
    Connected, replication Established   Connected
    Connected, replication Sync..., ...  that word
Sources: drbdsetup-9.0(8), status and show; drbd-utils, user/v9/drbdsetup.c.
"""

from __future__ import annotations

import msgspec

from nodeagent.errors import NodeAgentError
from nodeagent.storage.drbd_state import MinorState, Resource, blocks, device_path

_NEVER_S = 987_654_321  # what is printed where the speed is not known


class _PeerDevice(msgspec.Struct, rename="kebab"):
    replication_state: str = "Off"
    peer_disk_state: str = "DUnknown"
    percent_in_sync: float | None = None
    percent_resync_done: float | None = None
    estimated_seconds_to_finish: float | None = None


class _Connection(msgspec.Struct):
    state: str = msgspec.field(name="connection-state", default="StandAlone")
    peer_role: str = msgspec.field(name="peer-role", default="Unknown")
    peer_devices: list[_PeerDevice] = []


class _Device(msgspec.Struct, rename="kebab"):
    minor: int
    disk_state: str = "Diskless"


class _Resource(msgspec.Struct):
    role: str = "Unknown"
    devices: list[_Device] = []
    connections: list[_Connection] = []


_RESOURCES = msgspec.json.Decoder(list[_Resource])  # made at the start: docs/decisions/0206


def read_status(text: str) -> dict[int, MinorState]:
    """Return the state of each minor. Raises NodeAgentError if that is not what we know."""
    if not text.lstrip().startswith("["):
        return {}  # "# No currently configured DRBD found."
    try:
        found = _RESOURCES.decode(text)
    except msgspec.MsgspecError as wrong:
        raise NodeAgentError(
            f"the status of DRBD is not understood: {wrong}", hint="which drbd-utils are these?"
        ) from None
    return {
        device.minor: _state(resource, device) for resource in found for device in resource.devices
    }


def _state(resource: _Resource, device: _Device) -> MinorState:
    if not resource.connections:
        return MinorState("StandAlone", resource.role, disk=device.disk_state)
    connection = resource.connections[0]
    peer = connection.peer_devices[0] if connection.peer_devices else _PeerDevice()
    state = MinorState(
        _word(connection.state, peer.replication_state),
        resource.role,
        connection.peer_role,
        device.disk_state,
        peer.peer_disk_state,
    )
    if not state.syncing:
        return state
    done, eta_s = peer.percent_resync_done, peer.estimated_seconds_to_finish
    return state._replace(
        sync_percent=peer.percent_in_sync if done is None else done,
        sync_eta_s=None if eta_s is None or eta_s >= _NEVER_S else eta_s,
    )


def _word(connection: str, replication: str) -> str:
    if connection == "Connecting":
        return "WFConnection"
    if connection != "Connected":
        return connection
    return "Connected" if replication in ("Established", "Off") else replication


def read_show9(text: str) -> dict[str, Resource]:
    """Return the resources that `drbdsetup show` (9) printed, by name."""
    resources: dict[str, Resource] = {}
    for words, block in blocks(text):
        if words[:1] == ["resource"] and len(words) == 2:
            here, there = block.inner("_this_host"), block.inner("connection")
            volume, path = here.inner("volume"), there.inner("path")
            minor, peer = volume.value("device"), there.value("_peer_node_id")
            resources[words[1]] = Resource(
                minor=int(minor) if minor.isdigit() else None,
                data=device_path(volume.value("disk")),
                meta=device_path(volume.value("meta-disk")),
                own=path.value("_this_host"),
                peer=path.value("_remote_host"),
                two_primaries=there.inner("net").value("allow-two-primaries") == "yes",
                peer_node=int(peer) if peer.isdigit() else None,
            )
    return resources
