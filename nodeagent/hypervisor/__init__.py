"""The hypervisor contract, and what is common to its drivers."""
