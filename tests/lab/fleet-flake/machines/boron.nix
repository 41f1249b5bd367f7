# A server without a graphics card.
{ ... }:
{
  boot.loader.grub.device = "/dev/sda";
  networking.firewall.allowedTCPPorts = [ 22 ];
}
