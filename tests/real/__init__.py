"""Tests on the real nixpkgs and the real llama.cpp, where checkouts of them are given."""
