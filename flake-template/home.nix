# A Home Manager module that installs one variant of llama.cpp for a user.
#
#   programs.llama-cpp = {
#     enable = true;
#     variant = "vulkan";
#   };
#
# As in module.nix, the package comes from an extension of the pkgs at hand:
# nothing else that uses pkgs.llama-cpp changes.
{ llama-cpp }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.llama-cpp;
  overlay = import ./overlay.nix {
    inherit llama-cpp;
    inherit (cfg) cudaCapabilities rocmGpuTargets;
  };
  extended = pkgs.extend overlay;
  attribute = if cfg.variant == "default" then "llama-cpp" else "llama-cpp-${cfg.variant}";
  variants = lib.filter (lib.hasPrefix "llama-cpp") (lib.attrNames (overlay extended extended));
  listOption =
    description:
    lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      inherit description;
    };
in
{
  options.programs.llama-cpp = {
    enable = lib.mkEnableOption "llama.cpp, built for this machine's hardware";
    variant = lib.mkOption {
      type = lib.types.str;
      default = "default";
      example = "cuda";
      description = "Which build: the overlay's attribute without `llama-cpp-`.";
    };
    package = lib.mkOption {
      type = lib.types.package;
      default =
        extended.${attribute} or (throw ''
          programs.llama-cpp.variant: there is no "${cfg.variant}" for ${pkgs.stdenv.hostPlatform.system};
          there are ${lib.concatStringsSep ", " variants}'');
      defaultText = lib.literalExpression "the variant's package";
      description = "The package itself, where none of the variants is right.";
    };
    cudaCapabilities = listOption ''NVIDIA GPUs to compile for, such as "8.9"; empty for all.'';
    rocmGpuTargets = listOption ''AMD GPUs to compile for, such as "gfx1100"; empty for all.'';
  };

  config = lib.mkIf cfg.enable { home.packages = [ cfg.package ]; };
}
