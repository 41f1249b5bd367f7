"""Tests on the fleet in a box, and of it."""
