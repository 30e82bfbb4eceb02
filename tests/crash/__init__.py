"""Power cuts and flipped bits: what a voter finds on its disk, and whether it then votes."""
