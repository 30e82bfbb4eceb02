"""Checks what clients were told against what the voters' logs hold."""
