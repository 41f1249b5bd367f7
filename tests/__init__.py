"""Tests, and the fleet in a box that they run on."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
