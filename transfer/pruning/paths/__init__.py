"""The network as a sum over paths: what follows a forward, which operations it knows, and the flows that score it."""
