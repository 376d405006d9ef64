"""Networks as sums over paths: tracing a forward, its supported operations, and flows for scoring."""
