# Snippets that run before units change, and checks before anything, as in NixOS.
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
  # NixOS's switchable-system.nix: without it a system has no switch-to-configuration.
  options.system.switch.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };
  # Unlike NixOS: a real switch-to-configuration-ng that the host has, in place of the
  # stand-in's own. It takes the units from /etc, as it does on NixOS.
  options.system.switch.program = lib.mkOption {
    type = lib.types.nullOr lib.types.str;
    default = null;
  };
  # NixOS's switchable-system.nix: what must not change by a switch.
  options.system.switch.inhibitors = lib.mkOption {
    type = lib.types.attrsOf lib.types.str;
    default = { };
  };
  config.system.preSwitchChecks.switchInhibitors = ''
    case $2 in boot | dry-activate) exit ;; esac
    [ -e /run/current-system/switch-inhibitors ] || exit 0
    # A line an inhibitor, as the stand-in's toplevel writes its JSON.
    while read -r name value; do
      if grep -q "^$name " "$1/switch-inhibitors" 2>/dev/null &&
        ! grep -qxF "$name $value" "$1/switch-inhibitors"; then
        echo "$name changes: switching into this system is not recommended" >&2
        exit 1
      fi
    done </run/current-system/switch-inhibitors
  '';
  # NixOS's pre-switch-check.nix: a shell text each, which is given the system and the action.
  options.system.preSwitchChecks = lib.mkOption {
    type = lib.types.attrsOf lib.types.str;
    default = { };
  };
  config.system.build.preSwitchChecks = pkgs.linkFarm "pre-switch-checks" (
    lib.mapAttrs (name: text: pkgs.writeShellScript "check-${name}" text) config.system.preSwitchChecks
  );
  config.system.build.activationSnippets = pkgs.linkFarm "activation-snippets" (
    lib.mapAttrs (name: s: pkgs.writeShellScript "snippet-${name}" s.text) config.system.activationScripts
  );
}
