"""Opcodes about node groups: one module each, with its struct, locks, decision and `HANDLER`."""
