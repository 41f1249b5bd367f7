# Placeholders that differ when the kernel or its parameters do.
{ config, lib, pkgs, ... }:
let
  inherit (config.boot.kernelPackages) kernel;
in
{
  options.boot = {
    kernelPackages = lib.mkOption { type = lib.types.raw; default = pkgs.linuxPackages; };
    kernelParams = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
    kernelModules = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
  };
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
