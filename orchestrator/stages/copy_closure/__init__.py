"""A closure from one store to another: only what is missing, signed, resumable."""
