"""Opcodes about tags of any object."""
