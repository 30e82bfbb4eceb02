"""The master daemon: one loop that ties the log, the projections, the engine and the sockets."""
