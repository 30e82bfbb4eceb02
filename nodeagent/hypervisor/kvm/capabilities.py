"""What a QEMU is told before it sends or receives a guest (edge)."""

from __future__ import annotations

from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm.errors import MonitorFailed
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.migration_settings import MigrationSettings


def set_up(guest: Guest, settings: MigrationSettings) -> None:
    """Set capabilities and limits. Raises BadCall for a capability that this QEMU has not."""
    wanted = [{"capability": name, "state": True} for name in settings.capabilities]
    try:
        guest.monitor.execute("migrate-set-capabilities", {"capabilities": wanted})
    except MonitorFailed as refused:
        raise BadCall(
            f"migration_caps: {refused.description}",
            hint="gnt-instance modify -H migration_caps=; both nodes must know what is named there",
        ) from None
    guest.monitor.execute(
        "migrate-set-parameters",
        {"max-bandwidth": settings.bandwidth, "downtime-limit": settings.downtime_ms},
    )
