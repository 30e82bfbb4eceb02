"""One voter's files: the log on SQLite, its index, snapshots, and whether they are sound."""
