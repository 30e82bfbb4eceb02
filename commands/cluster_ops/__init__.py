"""Opcodes about the cluster: one module each, with its struct, locks, decision and `HANDLER`."""
