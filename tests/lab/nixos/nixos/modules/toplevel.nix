# What a machine runs: config.system.build.toplevel.
{ config, lib, pkgs, extendModules, ... }:
let
  cfg = config.system;
  failed = builtins.filter (a: !a.assertion) config.assertions;
  checked =
    value:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (a: "- ${a.message}") failed}"
    else
      lib.showWarnings config.warnings value;
  specialisations = lib.mapAttrs (
    _: s: (extendModules { modules = [ s.configuration { specialisation = lib.mkOverride 0 { }; } ]; }).config.system.build.toplevel
  ) config.specialisation;
in
{
  options = {
    system.stateVersion = lib.mkOption { type = lib.types.str; default = lib.trivial.release; };
    system.name = lib.mkOption { type = lib.types.str; default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName; };
    system.nixos = {
      release = lib.mkOption { type = lib.types.str; default = lib.trivial.release; };
      version = lib.mkOption { type = lib.types.str; default = lib.trivial.version; };
      label = lib.mkOption { type = lib.types.str; default = cfg.nixos.version; };
    };
    system.extraDependencies = lib.mkOption { type = lib.types.listOf lib.types.package; default = [ ]; };
    # Whatever a module builds: any name, each defined once.
    system.build = lib.mkOption {
      default = { };
      type = lib.types.submoduleWith {
        modules = [ { freeformType = lib.types.lazyAttrsOf (lib.types.uniq lib.types.unspecified); } ];
      };
    };
    specialisation = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (
        lib.types.submodule {
          options.configuration = lib.mkOption { type = lib.types.deferredModule; default = { }; };
          options.inheritParentConfig = lib.mkOption { type = lib.types.bool; default = true; };
        }
      );
    };
  };
  config.system.build.toplevel = checked (
    pkgs.runCommandLocal "nixos-system-${cfg.name}-${cfg.nixos.label}"
      {
        inherit (cfg) path extraDependencies modulesTree;
        inherit (cfg.build) kernel initialRamdisk units activationSnippets preSwitchChecks;
        etcTree = cfg.build.etc;
        kernelParams = toString config.boot.kernelParams;
        nixosVersion = cfg.nixos.version;
        # NixOS's option for what is done when the boot loader has been written.
        extraInstallCommands = config.boot.loader.systemd-boot.extraInstallCommands or "";
        hostSystem = pkgs.stdenv.hostPlatform.system;
        switch = builtins.path { path = ../switch-to-configuration.sh; name = "switch-to-configuration"; };
        activation = builtins.path { path = ../activate.sh; name = "activate"; };
        bootLoader = builtins.path { path = ../boot-loader.sh; name = "install-boot-loader"; };
        preSwitchCheck = builtins.path { path = ../pre-switch-check.sh; name = "pre-switch-check"; };
        switchProgram = toString cfg.switch.program;
        switchInhibitors = lib.concatStringsSep "\n,\n" (
          lib.mapAttrsToList (name: value: "${builtins.toJSON name}: ${builtins.toJSON value}") cfg.switch.inhibitors
        );
        passthru = { inherit (config) specialisation; };
      }
      ''
        mkdir -p $out/bin $out/specialisation
        printf %s "$nixosVersion" >$out/nixos-version
        printf %s "$hostSystem" >$out/system
        printf %s "$kernelParams" >$out/kernel-params
        printf %s "$extraInstallCommands" >$out/extra-install-commands
        ln -s $kernel/bzImage $out/kernel
        ln -s $modulesTree $out/kernel-modules
        ln -s $initialRamdisk/initrd $out/initrd
        ln -s $path $out/sw
        ln -s $etcTree/etc $out/etc
        ln -s $units $out/systemd
        ln -s $activationSnippets $out/activation-snippets
        ln -s $preSwitchChecks $out/pre-switch-checks
        echo systemd 257 >$out/init-interface-version
        printf '%s\n' $extraDependencies >$out/extra-dependencies
        ${lib.concatStrings (lib.mapAttrsToList (name: top: "ln -s ${top} $out/specialisation/${name}\n") specialisations)}
        printf '{\n%s\n}\n' "$switchInhibitors" >$out/switch-inhibitors
        install -m 555 $bootLoader $out/install-boot-loader
        install -m 555 $preSwitchCheck $out/pre-switch-check
        ${lib.optionalString cfg.switch.enable "install_switch=yes"}
        if [ "''${install_switch-}" ]; then
          if [ "$switchProgram" ]; then
            # What NixOS's own wrapper sets (switchable-system.nix).
            printf '#!/bin/sh\nexport %s\nexec %s "$@"\n' "OUT=$out TOPLEVEL=$out DISTRO_ID=nixos \
              INSTALL_BOOTLOADER=$out/install-boot-loader PRE_SWITCH_CHECK=$out/pre-switch-check \
              SYSTEMD=/usr" "$switchProgram" >$out/bin/switch-to-configuration
          else
            sed "s|@toplevel@|$out|g" $switch >$out/bin/switch-to-configuration
          fi
          chmod 555 $out/bin/switch-to-configuration
        fi
        sed "s|@toplevel@|$out|g" $activation >$out/activate
        printf '#!/bin/sh\nexec %s/bin/switch-to-configuration test\n' "$out" >$out/init
        chmod 555 $out/activate $out/init
      ''
  );
}
