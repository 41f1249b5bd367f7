"""Driving a run: read its state, send what comes next, emit it; hold its hosts' locks."""
