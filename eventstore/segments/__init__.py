"""Records in bulk, for a voter that is new or far behind."""
