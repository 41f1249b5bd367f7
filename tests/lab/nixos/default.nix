# The package set, with nixpkgs' way of calling it.
{
  system ? builtins.currentSystem,
  localSystem ? { inherit system; },
  crossSystem ? null,
  config ? { },
  overlays ? [ ],
}:
import ./pkgs {
  lib = import ./lib;
  system = if crossSystem != null then crossSystem else localSystem;
  inherit config overlays;
}
