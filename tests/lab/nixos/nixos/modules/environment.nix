# /etc and the system's packages.
{ config, lib, pkgs, ... }:
let
  entry =
    { name, config, ... }:
    {
      options = {
        enable = lib.mkOption { type = lib.types.bool; default = true; };
        target = lib.mkOption { type = lib.types.str; default = name; };
        text = lib.mkOption { type = lib.types.nullOr lib.types.lines; default = null; };
        source = lib.mkOption { type = lib.types.path; };
        mode = lib.mkOption { type = lib.types.str; default = "symlink"; };
        user = lib.mkOption { type = lib.types.str; default = "root"; };
        group = lib.mkOption { type = lib.types.str; default = "root"; };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDefault (pkgs.writeText "etc-${lib.sanitizeDerivationName (baseNameOf name)}" config.text)
      );
    };
  entries = builtins.filter (e: e.enable) (builtins.attrValues config.environment.etc);
in
{
  options = {
    networking.hostName = lib.mkOption {
      type = lib.types.strMatching "|[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?";
      default = "nixos";
    };
    networking.domain = lib.mkOption { type = lib.types.nullOr lib.types.str; default = null; };
    environment.systemPackages = lib.mkOption { type = lib.types.listOf lib.types.package; default = [ ]; };
    environment.pathsToLink = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
    environment.etc = lib.mkOption { type = lib.types.attrsOf (lib.types.submodule entry); default = { }; };
    system.path = lib.mkOption { internal = true; type = lib.types.package; };
  };
  config = {
    environment.systemPackages = [
      (pkgs.writeShellScriptBin "nixos-version" ''
        case "''${1:-}" in
          --json) printf '{"nixosVersion":"%s"}\n' "$(cat /run/current-system/nixos-version)" ;;
          *) echo "$(cat /run/current-system/nixos-version) (stand-in)" ;;
        esac
      '')
    ];
    environment.etc = {
      NIXOS.text = "";
      hostname = lib.mkIf (config.networking.hostName != "") { text = config.networking.hostName + "\n"; };
      os-release.text = ''
        ID=nixos
        NAME=NixOS
        PRETTY_NAME="NixOS ${config.system.nixos.version}"
        VERSION_ID="${config.system.nixos.release}"
        BUILD_ID="${config.system.nixos.version}"
      '';
    };
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = config.environment.systemPackages;
      pathsToLink = [ "/bin" "/share" "/lib" "/etc" ] ++ config.environment.pathsToLink;
    };
    system.build.etc = pkgs.runCommandLocal "etc" { } (
      "mkdir -p $out/etc\n"
      + lib.concatMapStrings (
        e:
        let
          target = lib.escapeShellArg e.target;
        in
        ''
          mkdir -p "$out/etc/$(dirname ${target})"
          ln -s ${lib.escapeShellArg "${e.source}"} "$out/etc/"${target}
        ''
      ) entries
      + lib.optionalString (config.system.switch.program != null) ''
        mkdir -p $out/etc/systemd
        cp -R ${config.system.build.units} $out/etc/systemd/system
        chmod u+w $out/etc/systemd/system
        cp ${../targets}/* $out/etc/systemd/system/
      ''
    );
  };
}
