# Which package set a machine's modules see.
{ config, lib, options, ... }:
let
  cfg = config.nixpkgs;
in
{
  options.nixpkgs = {
    pkgs = lib.mkOption { type = lib.types.pkgs; description = "The package set, when the user makes it."; };
    config = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
    overlays = lib.mkOption { type = lib.types.listOf lib.types.raw; default = [ ]; };
    hostPlatform = lib.mkOption {
      type = lib.types.either lib.types.str lib.types.attrs;
      apply = lib.systems.elaborate;
    };
    buildPlatform = lib.mkOption { type = lib.types.raw; default = null; };
    system = lib.mkOption { type = lib.types.str; default = cfg.hostPlatform.system; };
  };
  config._module.args.pkgs = lib.mkOptionDefault (
    if options.nixpkgs.pkgs.isDefined then
      cfg.pkgs.appendOverlays cfg.overlays
    else
      import ../.. {
        inherit (cfg.hostPlatform) system;
        inherit (cfg) config overlays;
      }
  );
}
