# Options that real configurations set and this stand-in has nothing behind:
# accepted, so that a machine's file can be used unchanged, without effect.
{ lib, ... }:
let
  paths = [
    "boot.initrd"
    "boot.kernel"
    "boot.loader"
    "boot.supportedFilesystems"
    "boot.tmp"
    "console"
    "documentation"
    "environment.variables"
    "environment.sessionVariables"
    "fileSystems"
    "fonts"
    "hardware.amdgpu"
    "hardware.bluetooth"
    "hardware.cpu"
    "hardware.graphics"
    "hardware.nvidia"
    "hardware.nvidia-container-toolkit"
    "i18n"
    "networking.firewall"
    "networking.interfaces"
    "networking.networkmanager"
    "nix"
    "powerManagement"
    "programs"
    "security"
    "services.avahi"
    "services.logind"
    "services.openssh"
    "services.power-profiles-daemon"
    "services.resolved"
    "services.xserver"
    "systemd.tmpfiles"
    "time"
    "users"
    "virtualisation"
    "zramSwap"
  ];
  anything = lib.mkOption { type = lib.types.anything; default = { }; };
  switch = lib.mkOption { type = lib.types.anything; default = false; };
in
{
  options =
    builtins.foldl' (options: path: lib.recursiveUpdate options (lib.setAttrByPath (lib.splitString "." path) anything)) { }
      paths
    // {
      swapDevices = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
    };
  imports = [
    {
      options.networking.useDHCP = switch;
      options.networking.hostId = lib.mkOption { type = lib.types.nullOr lib.types.str; default = null; };
      options.hardware.enableRedistributableFirmware = switch;
      options.hardware.enableAllFirmware = switch;
      options.system.autoUpgrade = anything;
    }
  ];
}
