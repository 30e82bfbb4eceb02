"""Ganeti's placement programs: hail, hbal, hcheck, hinfo, hroller, hscan, hspace, hsqueeze.

This package reads data, parses options and prints; what is decided comes from
`commands.placement`. Modules that need numpy are imported only once there is something to compute.
"""
