"""The engine for real: a valkey server, worker processes, and what kills them."""
