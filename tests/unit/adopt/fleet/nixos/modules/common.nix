{ config, pkgs, ... }:
{
  imports = [ ../../home/machine.nix ];
  environment = {
    etc."motd".text = "hello";
    # What every machine has
    systemPackages = [ pkgs.hello pkgs.llama-cpp ];
  };
  system.stateVersion = "25.05";
}
