"""What Nix makes of each machine: its system, and the llama.cpp in it."""
