"""Opcodes, their decisions, plans, the job engine, placement, policies, the master daemon."""
