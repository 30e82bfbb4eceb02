"""Runs spin on the model in docs/model."""
