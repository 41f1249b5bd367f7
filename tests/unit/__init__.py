"""Tests that need no machine and no root."""
