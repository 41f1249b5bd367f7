# Snippets that run before units change, as in NixOS.
{ config, lib, pkgs, ... }:
let
  snippet = lib.types.coercedTo lib.types.str (text: { inherit text; }) (
    lib.types.submodule {
      options = {
        text = lib.mkOption { type = lib.types.lines; default = ""; };
        deps = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
        supportsDryActivation = lib.mkOption { type = lib.types.bool; default = false; };
      };
    }
  );
in
{
  options.system.activationScripts = lib.mkOption {
    type = lib.types.attrsOf snippet;
    default = { };
  };
  config.system.build.activationSnippets = pkgs.linkFarm "activation-snippets" (
    lib.mapAttrs (name: s: pkgs.writeShellScript "snippet-${name}" s.text) config.system.activationScripts
  );
}
