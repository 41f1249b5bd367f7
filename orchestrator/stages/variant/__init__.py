"""Which llama.cpp a machine gets, and why: a pure table."""
