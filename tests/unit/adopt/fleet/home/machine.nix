# Options of Home Manager's kind, so that home.nix evaluates without it.
{ lib, ... }: {
  options.home.packages = lib.mkOption { default = [ ]; };
  imports = [ ./home.nix ];
}
