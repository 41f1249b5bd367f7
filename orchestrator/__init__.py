"""Hardware-optimised llama.cpp on a fleet of NixOS machines."""
