{
  lib,
  system,
  config,
  overlays,
}:
let
  hostPlatform = lib.systems.elaborate system;
  finalConfig = {
    allowUnfree = false;
    allowUnfreePredicate = _: false;
    allowBroken = false;
    allowAliases = true;
    cudaSupport = false;
    rocmSupport = false;
  }
  // config;

  base =
    final:
    let
      fromFinal = lib.callPackageWith (final // { pkgs = final; });
      builders = import ./trivial-builders.nix { inherit lib; inherit (final) stdenv; };
      placeholders = import ./placeholders.nix { inherit lib; inherit (final) stdenv config; };
    in
    {
      inherit lib overlays;
      config = finalConfig;
      path = ../.;
      pkgs = final;
      _type = "pkgs";

      stdenv = import ./stdenv.nix {
        inherit lib hostPlatform;
        config = finalConfig;
      };
      stdenvNoCC = final.stdenv;
      gccStdenv = final.stdenv;
      clangStdenv = final.stdenv;

      callPackage = fromFinal;
      callPackages = fromFinal;
      newScope = extra: lib.callPackageWith (final // { pkgs = final; } // extra);
      extend = overlay: final.appendOverlays [ overlay ];
      appendOverlays =
        more:
        import ./. {
          inherit lib system config;
          overlays = overlays ++ more;
        };
    }
    // builders
    // placeholders
    // {
      llama-cpp = final.callPackage ./llama-cpp/package.nix { };
    }
    // lib.optionalAttrs finalConfig.allowAliases {
      system = lib.warn "'system' has been renamed to/replaced by 'stdenv.hostPlatform.system'" hostPlatform.system;
      hostPlatform = lib.warn "'hostPlatform' has been renamed to/replaced by 'stdenv.hostPlatform'" hostPlatform;
    };
in
lib.fix (builtins.foldl' (set: overlay: lib.extends overlay set) base overlays)
