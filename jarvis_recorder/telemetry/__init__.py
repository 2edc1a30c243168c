"""Status, metrics, traces and checks: written by the parts, read out by `monitoring`."""
