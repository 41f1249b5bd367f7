# One machine, by the name of this file.
{ ... }:
{
  # Its disks, file systems and processor.
  imports = [ ../hardware/example.nix ];

  # For UEFI. A machine that boots by BIOS has boot.loader.grub.device instead.
  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;

  # The NixOS release that the machine was installed with. It stays as it is.
  system.stateVersion = "26.05";

  # A user besides root:
  # users.users.me = {
  #   isNormalUser = true;
  #   extraGroups = [ "wheel" "video" "render" ];
  #   openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA… me@laptop" ];
  # };

  # AMD or Intel GPU, by Vulkan:
  # hardware.graphics.enable = true;

  # NVIDIA, with its licences:
  # nixpkgs.config.allowUnfree = true;
  # services.xserver.videoDrivers = [ "nvidia" ];
  # hardware.graphics.enable = true;
  # hardware.nvidia.open = true;

  # AMD by ROCm: nothing but hardware.graphics.enable is needed.
}
