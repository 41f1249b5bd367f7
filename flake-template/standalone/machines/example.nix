# One machine, by the name of this file.
{ ... }:
{
  # What `nixos-generate-config --show-hardware-config` prints on the machine is
  # right about its disks; it replaces what is said of file systems below.
  # imports = [ ../hardware/example.nix ];

  nixpkgs.hostPlatform = "x86_64-linux"; # or aarch64-linux

  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/boot";
    fsType = "vfat";
  };

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
