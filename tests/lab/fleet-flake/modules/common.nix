{ config, lib, pkgs, ... }:
let
  settings = builtins.fromJSON (builtins.readFile ../settings.json);
  failing = builtins.elem config.networking.hostName settings.failing;
  hanging = builtins.elem config.networking.hostName (settings.hanging or [ ]);
in
{
  # What of this fleet changes from one deployment to the next.
  systemd.services.greeter = {
    description = "Greets whoever looks";
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      RuntimeDirectory = "greeter";
      RuntimeDirectoryPreserve = true;
    };
    script = ''
      echo ${lib.escapeShellArg settings.greeting} >/run/greeter/greeting
      ${lib.optionalString failing "exit 1"}
    '';
  };
  # As a snippet that waits for something that never comes.
  system.activationScripts = lib.optionalAttrs hanging {
    hang = "echo waiting for nothing >&2; exec sleep infinity";
  };
  environment.etc."greeting".text = settings.greeting + "\n";
  environment.systemPackages = [ pkgs.hello ];

  # One machine's llama.cpp can be made a bad build (see llama-cpp/README.md).
  nixpkgs.config = lib.optionalAttrs (settings.broken ? ${config.networking.hostName}) {
    brokenLlamaCli = settings.broken.${config.networking.hostName};
  };

  services.openssh.enable = true;
  users.users.root.openssh.authorizedKeys.keys = [ ];
  system.stateVersion = "25.05";
}
