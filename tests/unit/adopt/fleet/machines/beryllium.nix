{ lib, ... }: {
  boot.loader.systemd-boot.enable = true; # no packages of its own
}
