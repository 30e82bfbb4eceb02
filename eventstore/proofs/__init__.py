"""What lets an outsider check the log: Merkle tree, signed checkpoints, who signed what."""
