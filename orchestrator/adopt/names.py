"""What adoption brings into a flake, by its names."""

from __future__ import annotations

from orchestrator.model.variant import Variant

INPUT = "llama-cpp"
URL = "github:ggml-org/llama.cpp"
OVERLAY_FILE = "nixos/overlays/llama-cpp.nix"
OVERLAY_NAME = "overlay-llama-cpp"
DEFAULT = Variant.DEFAULT.attribute
ATTRIBUTES = frozenset({variant.attribute for variant in Variant} | {"llama-cpp-rpc"})
"""The packages of flake-template/overlay.nix."""
