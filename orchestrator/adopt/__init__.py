"""Bring a user's own flake to strategy's in-tree way: edits of its source, shown before written."""
