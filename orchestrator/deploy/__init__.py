"""A run: surveyed, planned, journaled in Redis, driven to its end."""
