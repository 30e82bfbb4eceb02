"""Opcodes for tests and measurements (Ganeti's gnt-debug)."""
