# Placeholders that differ when the kernel, its modules or its parameters do.
{ config, lib, pkgs, ... }:
let
  inherit (config.boot.kernelPackages) kernel;
in
{
  options.boot = {
    kernelPackages = lib.mkOption { type = lib.types.raw; default = pkgs.linuxPackages; };
    kernelParams = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
    kernelModules = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
    extraModulePackages = lib.mkOption { type = lib.types.listOf lib.types.package; default = [ ]; };
  };
  # As in NixOS a list that is one tree for whoever reads it.
  options.system.modulesTree = lib.mkOption {
    type = lib.types.listOf lib.types.raw;
    default = [ ];
    apply = paths: pkgs.buildEnv { name = "${kernel.name}-modules"; inherit paths; };
  };
  config.system.modulesTree = [ config.system.build.kernel ] ++ config.boot.extraModulePackages;
  config.system.build = {
    kernel = pkgs.runCommandLocal kernel.name { } ''
      mkdir -p $out/lib/modules/${kernel.version}
      echo "placeholder for ${kernel.name}" >$out/bzImage
    '';
    initialRamdisk = pkgs.runCommandLocal "initrd-${kernel.name}" { modules = toString config.boot.kernelModules; } ''
      mkdir -p $out
      echo "placeholder for the initrd of ${kernel.name}: $modules" >$out/initrd
    '';
  };
}
