"""Guests of KVM: QEMU processes, spoken to over QMP."""
