# A NixOS module that installs one host's llama.cpp.
#
# `host` is its entry in fleet.json. The package comes from an extension of the
# host's own pkgs rather than from nixpkgs.overlays: that works with read-only
# pkgs too, and whatever else uses the user's pkgs.llama-cpp stays as it was.
{ llama-cpp, host }:
{
  lib,
  options,
  pkgs,
  ...
}:
let
  overlay = import ./overlay.nix {
    inherit llama-cpp;
    inherit (host)
      acceptedLicences
      cpuFeatures
      cudaCapabilities
      march
      rocmGpuTargets
      source
      ;
    useWebUi = host.webUi;
  };
  package = (pkgs.extend overlay).${host.attribute};
in
{
  # The llama-cli in PATH is this one, whatever else brings one along.
  environment.systemPackages = [ (lib.hiPrio package) ];
  system.build.llama-cpp = package;
  # A default only: a package that the user names for the service wins.
  services = lib.optionalAttrs (options.services ? llama-cpp) {
    llama-cpp.package = lib.mkDefault package;
  };
}
