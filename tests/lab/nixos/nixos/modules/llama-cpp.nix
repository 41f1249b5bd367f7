# NixOS's own llama.cpp service, as far as the lab looks at it.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.llama-cpp;
in
{
  options.services.llama-cpp = {
    enable = lib.mkEnableOption "LLaMA C++ server";
    package = lib.mkPackageOption pkgs "llama-cpp" { };
    model = lib.mkOption { type = lib.types.nullOr lib.types.path; default = null; };
    host = lib.mkOption { type = lib.types.str; default = "127.0.0.1"; };
    port = lib.mkOption { type = lib.types.port; default = 8080; };
    extraFlags = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
    openFirewall = lib.mkOption { type = lib.types.bool; default = false; };
    settings = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
  };
  config = lib.mkIf cfg.enable {
    systemd.services.llama-cpp = {
      description = "LLaMA C++ server";
      after = [ "network.target" ];
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "idle";
        Restart = "on-failure";
        RestartSec = 300;
        ExecStart = lib.concatStringsSep " " (
          [ "${cfg.package}/bin/llama-server --host ${cfg.host} --port ${toString cfg.port}" ]
          ++ lib.optional (cfg.model != null) "--model ${cfg.model}"
          ++ [ (lib.escapeShellArgs cfg.extraFlags) ]
        );
      };
    };
  };
}
