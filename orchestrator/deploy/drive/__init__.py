"""Driving a run: read its state, send what comes next, tell of it; hold its hosts' locks."""
