"""What QEMU is told before a migration, on both sides (pure)."""

from __future__ import annotations

from typing import NamedTuple

from nodeagent.calls import InstanceSpec
from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm.parameters import Parameters, parameters

POSTCOPY = "postcopy-ram"
# On both sides, always: events, so that nobody polls; the target says when it is through, so that
# the source does not take an aborted load for a success; the target refuses another guest's memory;
# the source waits for a word before the last step, up to which it can be called off (sending.py).
ALWAYS = ("events", "return-path", "validate-uuid", "pause-before-switchover")
_UNLIMITED = (1 << 63) - 1  # bytes/s
DOWNTIME_LIMIT_MS = 2_000_000  # QEMU takes no more


class MigrationSettings(NamedTuple):
    """Limits and capabilities of a migration."""

    capabilities: tuple[str, ...]
    bandwidth: int  # bytes/s
    downtime_ms: int
    port: int  # at which the target listens

    @property
    def postcopy(self) -> bool:
        """Whether the guest runs on the target before all of its memory is there."""
        return POSTCOPY in self.capabilities


def migration_settings(found: Parameters) -> MigrationSettings:
    """Return the settings. Raises BadCall."""
    wanted = tuple(name.strip() for name in found.migration_caps.split(":") if name.strip())
    for name in wanted:
        if not name.replace("-", "").isalnum():
            raise BadCall(
                f"migration_caps: {name!r} is not the name of a capability",
                hint="separate them by colons: auto-converge:xbzrle",
            )
    return MigrationSettings(
        capabilities=tuple(dict.fromkeys((*ALWAYS, *wanted))),
        bandwidth=found.migration_bandwidth * (1 << 20) or _UNLIMITED,
        downtime_ms=min(found.migration_downtime, DOWNTIME_LIMIT_MS),
        port=found.migration_port,
    )


def settings_of(instance: InstanceSpec) -> MigrationSettings:
    """Return the settings that are in force now, which may differ from those at the guest's start.

    Both sides are told of the same configuration. Raises BadCall.
    """
    return migration_settings(parameters(instance.hvparams))


def stopped_for_it(settings: MigrationSettings) -> MigrationSettings:
    """Return the settings of a migration that is not live.

    QEMU stops the guest as soon as what is left fits into the permitted downtime: with the longest
    one that is at the beginning. Stopping it before would make it arrive stopped.
    """
    return settings._replace(downtime_ms=DOWNTIME_LIMIT_MS)
