"""The vocabulary of facts. A kind is stored for ever; `registry.py` lists them all."""
