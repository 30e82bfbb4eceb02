"""What travels between processes: limits, messages, errors (pure). See docs/wire-protocol.md."""
