"""A site's own scripts for interfaces of guests, with Ganeti's environment (edge).

Source: Ganeti's `kvm-ifup` and its override `kvm-vif-bridge` (3.1), `network/<mode>/{up,down}` (the
later layout). A script replaces what the driver would do to connect the interface: the tap is there
and up, the rest is the script's. One that fails to bring an interface up fails the start; one that
fails to take it down is only logged, as the guest has ended already.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from nodeagent.calls import InstanceSpec, NetworkSpec, NicSpec
from nodeagent.errors import CommandFailed, NodeAgentError
from nodeagent.network.rules import BRIDGED, OPENVSWITCH, ROUTED
from nodeagent.runner import PATH, run_process
from nodeagent.task_scope import TaskScope

Action = Literal["up", "down"]
DIRECTORIES = (Path("/etc/cairn/network"), Path("/etc/ganeti/network"))
OVERRIDE = Path("/etc/ganeti/kvm-vif-bridge")  # for interfaces that go up, in any mode
_SCRIPT_S = 60.0
_log = logging.getLogger(__name__)


class SiteScripts:
    """The scripts of this node: `<directory>/<mode>/up` and `down`, first found wins."""

    def __init__(
        self, directories: Sequence[Path] = DIRECTORIES, override: Path = OVERRIDE
    ) -> None:
        self._directories, self._override = tuple(directories), override

    def find(self, mode: str, action: Action) -> Path | None:
        """Return the script for this, None if the site has none."""
        places = [directory / mode / action for directory in self._directories]
        if action == "up":
            places.append(self._override)
        return next((each for each in places if each.is_file() and os.access(each, os.X_OK)), None)

    def bad(self) -> tuple[str, ...]:
        """Return the scripts that are there and would not be run, since nobody may."""
        places = [
            directory / mode / action
            for directory in self._directories
            for mode in (BRIDGED, OPENVSWITCH, ROUTED)
            for action in ("up", "down")
        ]
        return tuple(
            str(each)
            for each in (*places, self._override)
            if each.exists() and not (each.is_file() and os.access(each, os.X_OK))
        )

    def run(self, script: Path, environment: Mapping[str, str], scope: TaskScope) -> None:
        """Run it to its end. Raises CommandFailed with all that it printed, or Stopped."""
        argv = [str(script)]
        ran = run_process(
            argv, scope=scope, timeout_s=_SCRIPT_S, environment=environment, merged=True
        )
        output = ran.stdout.decode(errors="replace")
        interface = environment["INTERFACE"]
        _log.info("%s for %s: exit %d: %s", script, interface, ran.exit_status, output)
        if scope.stopping:
            raise scope.stopped(left=f"{script} was killed half-way", output=output)
        if ran.exit_status != 0:
            hint = f"it was killed: {_SCRIPT_S:.0f} s were over" if ran.late else ""
            raise CommandFailed(argv, exit_status=ran.exit_status, output=output, hint=hint)

    def try_down(self, mode: str, environment: Mapping[str, str], scope: TaskScope) -> None:
        """Run the script that takes an interface down, if there is one; failures are logged."""
        script = self.find(mode, "down")
        if script is None:
            return
        try:
            self.run(script, {**environment, "ACTION": "down"}, scope)
        except NodeAgentError as failed:
            _log.warning("%s for %s: %s", script, environment["INTERFACE"], failed)


def script_environment(
    instance: InstanceSpec, nic: NicSpec, interface: str, *, arrived: bool = False
) -> dict[str, str]:
    """Return what a script sees that brings `interface` up. `arrived`: by a live migration."""
    environment = {
        "PATH": PATH,
        "ACTION": "up",
        "INSTANCE": instance.name,
        "TAGS": " ".join(instance.tags),
        "INTERFACE": interface,
        "INTERFACE_INDEX": str(nic.index),
        "INTERFACE_UUID": nic.uuid,
        "MODE": nic.mode,
        "MAC": nic.mac,
    }
    optional = {
        "INTERFACE_NAME": nic.name,
        "IP": nic.ip,
        "LINK": nic.link,
        "VLAN": nic.vlan,
        "BRIDGE": nic.link if nic.mode in (BRIDGED, OPENVSWITCH) else "",
        "MIGRATION_PHASE": "post" if arrived else "",
    }
    environment |= {name: value for name, value in optional.items() if value}
    return environment | {f"NETWORK_{name}": value for name, value in network_variables(nic)}


def network_variables(nic: NicSpec) -> Iterator[tuple[str, str]]:
    """Return what is said of the network that a NIC takes part in: nothing if there is none."""
    if not nic.network:
        return
    network = nic.network_spec or NetworkSpec(uuid=nic.network, name="")
    yield "UUID", network.uuid
    yield "TAGS", " ".join(network.tags)
    optional = {
        "NAME": network.name,
        "SUBNET": network.subnet,
        "GATEWAY": network.gateway,
        "SUBNET6": network.subnet6,
        "GATEWAY6": network.gateway6,
        "MAC_PREFIX": network.mac_prefix,
    }
    yield from ((name, value) for name, value in optional.items() if value)
