"""Opcodes about nodes: one module each, with its struct, locks, decision and `HANDLER`."""
