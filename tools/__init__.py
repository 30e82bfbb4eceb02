"""Programs for operators and developers: the lab, the placement tools, the stand-alone verifier."""
