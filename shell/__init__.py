"""Every way in: `gnt-*` commands, `gnt-log`, the interactive shell; parsing and rendering only."""
