args@{ pkgs, ... }:
let
  cuda = true;
in
{
  nixpkgs.config.allowUnfree = cuda;
  environment.systemPackages =
    (with args.pkgs; [ hello ]) ++ [ args.pkgs.hello ];
}
