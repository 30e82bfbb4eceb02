"""A test bed of node VMs: real LVM, DRBD, QEMU and bridges, on software emulation."""
