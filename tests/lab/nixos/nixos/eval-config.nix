# nixosSystem: our NixOS modules and the caller's.
{
  lib,
  system ? null,
  pkgs ? null,
  modules,
  specialArgs ? { },
  extraModules ? [ ],
  baseModules ? import ./modules/module-list.nix,
  modulesLocation ? null,
}:
let
  modulesPath = toString ./modules;
  fromArguments = {
    _file = "nixosSystem";
    key = "nixosSystem";
    config = {
      nixpkgs.hostPlatform = lib.mkIf (system != null) (lib.mkDefault system);
      _module.args = lib.optionalAttrs (pkgs != null) { pkgs = lib.mkForce pkgs; };
    };
  };
  locate = map (if modulesLocation == null then lib.id else lib.setDefaultModuleLocation modulesLocation);
  withPackages =
    configuration:
    configuration
    // {
      inherit lib;
      inherit (configuration._module.args) pkgs;
      extraArgs = { };
      extendModules = args: withPackages (configuration.extendModules args);
    };
in
withPackages (
  lib.evalModules {
    class = "nixos";
    specialArgs = { inherit modulesPath; } // specialArgs;
    modules = baseModules ++ extraModules ++ [ fromArguments ] ++ locate modules;
  }
)
