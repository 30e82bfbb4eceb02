"""The lab: a whole cluster on one machine, in one directory, with simulated drivers."""
