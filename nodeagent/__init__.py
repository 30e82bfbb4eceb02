"""The node agent: executes its node's tasks through drivers. Other rooms import only `calls`."""
