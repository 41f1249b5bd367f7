"""Performing one step on a worker: find what its stage needs, call it, report."""
