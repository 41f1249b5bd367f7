"""Faults on purpose, at every moment of a deployment, and where each may end."""
