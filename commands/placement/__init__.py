"""The placement engine: where instances go, and how a cluster is brought back into balance.

Pure: values in, values out; no file, no socket, no clock, no printing. `docs/placement.md` has the
model and the reasons; the programs that use it are in `tools/htools/`.
"""
