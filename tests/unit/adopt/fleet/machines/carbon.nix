{
  config,
  lib,
  pkgs,
  ...
}: {
  boot.loader.systemd-boot.enable = true;
  hardware.graphics.enable = true;
  environment.systemPackages = with pkgs; [
    hello # a greeting
    # inference
    llama-cpp-avx512 # by hand
    hello
  ] ++ lib.optionals config.hardware.graphics.enable [ hello ];
}
