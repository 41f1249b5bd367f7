{ ... }: {
  nixpkgs.overlays = [
    (import ../pkgs/llama-cpp-variants.nix)
  ];
}
