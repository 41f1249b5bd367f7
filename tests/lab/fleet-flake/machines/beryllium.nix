# Framework Laptop 13, AMD Ryzen 7040 with its Radeon 780M.
{ ... }:
{
  boot.loader.systemd-boot.enable = true;
  hardware.graphics.enable = true;
  services.power-profiles-daemon.enable = true;
}
