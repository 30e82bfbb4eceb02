"""Opcodes about instances: one module each, with its struct, locks, decision and `HANDLER`."""
