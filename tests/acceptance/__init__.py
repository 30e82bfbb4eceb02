"""Whole clusters on labs: real processes, sockets and files; the drivers are simulated."""
