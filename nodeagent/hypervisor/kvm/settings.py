"""How the driver runs on its node: what no instance parameter says (pure).

Part of the agent's configuration (`agent.json`, key `kvm`); the defaults suit a node installed from
packages.
"""

from __future__ import annotations

import msgspec

AUTO, KVM, TCG = "auto", "kvm", "tcg"


class KvmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of this node, and how guests are run on it."""

    # Sockets and process ids: gone after a boot, as the guests are. Short: a socket's path has at
    # most 107 bytes, of which the driver needs 44.
    run_directory: str = "/run/cairn/kvm"
    # What outlives a boot: generations, firmware variables.
    state_directory: str = "/var/lib/cairn/kvm"
    # "kvm", "tcg" (emulated: slow, works everywhere), or "auto": kvm where it works. An instance
    # whose `kvm_flag` is set has its own way.
    accelerator: str = AUTO
    users: tuple[str, ...] = ()  # for security_model=pool: one runs at most one guest
    spice_tls_directory: str = "/etc/cairn/spice"  # ca-cert.pem, server-cert.pem, server-key.pem
    firmware_code: str = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    firmware_variables: str = "/usr/share/OVMF/OVMF_VARS_4M.fd"
    start_s: float = 60.0  # that a QEMU may take to be there
    connect_s: float = 10.0  # that its monitor may take to answer a new connection
    # That the target of a migration may take nothing of the guest before it is called off: where
    # its machine has no power any more, TCP alone would try for a quarter of an hour.
    stalled_s: float = 60.0
