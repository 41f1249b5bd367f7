# A workstation with an NVIDIA card.
{ ... }:
{
  boot.loader.systemd-boot.enable = true;
  hardware.graphics.enable = true;
  hardware.nvidia.open = true;
  nixpkgs.config.allowUnfree = true;
}
