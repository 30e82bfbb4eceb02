"""One voter of the cluster: the core of `raft/` with a disk, a clock and links."""
