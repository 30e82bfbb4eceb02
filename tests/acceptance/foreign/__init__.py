"""Programs in other languages that speak to Cairn, written from its documents alone."""
