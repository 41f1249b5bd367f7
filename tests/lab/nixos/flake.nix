{
  description = "Stands in for nixpkgs and NixOS where neither can be built: the lab's hosts (see README.md)";

  outputs =
    { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      lib = (import ./lib).extend (
        final: prev: {
          nixosSystem = args: import ./nixos/eval-config.nix ({ lib = final; } // args);
          nixos.evalModules = args: final.evalModules ({ class = "nixos"; } // args);
        }
      );
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs systems (system: import ./. { inherit system; });
      nixosModules.readOnlyPkgs = ./nixos/modules/read-only-pkgs.nix;
    };
}
