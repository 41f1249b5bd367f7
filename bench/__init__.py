"""Benchmarks: ours beside the peer or the bare command, in one run, as ratios."""
