"""The flake that Nix evaluates: the template, and the choices as JSON beside it."""
