"""The ways to a host: one shell for many hosts at once, one session with privilege."""
