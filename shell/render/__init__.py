"""Laying out for people and for programs: values in, text out. Nothing here asks or decides."""
