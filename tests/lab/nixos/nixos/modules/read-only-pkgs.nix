# nixpkgs.pkgs as it is: overlays and config of modules are errors.
{ config, lib, ... }:
{
  disabledModules = [ ./nixpkgs.nix ];
  options.nixpkgs = {
    pkgs = lib.mkOption { type = lib.types.pkgs; };
    config = lib.mkOption { readOnly = true; default = config.nixpkgs.pkgs.config; type = lib.types.unspecified; };
    overlays = lib.mkOption { readOnly = true; default = null; type = lib.types.unspecified; };
    hostPlatform = lib.mkOption { readOnly = true; default = config.nixpkgs.pkgs.stdenv.hostPlatform; type = lib.types.unspecified; };
  };
  config._module.args.pkgs = config.nixpkgs.pkgs;
}
