"""Drivers that behave like real ones and touch nothing but files of the lab."""
