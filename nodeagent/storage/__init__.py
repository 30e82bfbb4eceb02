"""The storage contract, and what is common to its drivers."""
