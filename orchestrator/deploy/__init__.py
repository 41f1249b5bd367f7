"""A run: prepare it, then drive what rollout decides and workers perform."""
