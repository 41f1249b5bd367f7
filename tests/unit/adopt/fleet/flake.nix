# The machines of someone who runs NixOS at home.
{
  description = "A NixOS config with four machines";

  inputs = {
    # Nixpkgs
    nixpkgs.url = "path:/nixpkgs";

    # Packages I just want the latest of
    wallpapers = { url = "path:./wallpapers"; flake = false; }; # not a flake
  };

  outputs = {self, ...} @ inputs: let
    inherit (self) outputs;
    overlay-hello = final: prev: {
      greeting = prev.hello; # one that stays
    };
    # The variants, by hand
    llama-variants = import ./nixos/pkgs/llama-cpp-variants.nix;
    system = "x86_64-linux";
  in {
    nixosConfigurations = {
      # Framework 13
      carbon = inputs.nixpkgs.lib.nixosSystem {
        inherit system;
        specialArgs = {inherit inputs outputs;};
        modules = [
          ({
            config,
            pkgs,
            ...
          }: {
            nixpkgs.overlays = [
              overlay-hello
              llama-variants # the old one
            ];
          })
          ./machines/carbon.nix
          ./nixos/modules/common.nix
        ];
      };

      beryllium = inputs.nixpkgs.lib.nixosSystem {
        inherit system;
        specialArgs = {inherit inputs outputs;};
        modules = [ { nixpkgs = { overlays = [ overlay-hello llama-variants ]; }; } ./machines/beryllium.nix ./nixos/modules/common.nix ];
      };

      boron = inputs.nixpkgs.lib.nixosSystem {
        inherit system;
        specialArgs = {inherit inputs outputs;};
        modules = [
            ./machines/boron # odd, and stays so
            ./nixos/modules/common.nix
        ];
      };
    };

    nixosConfigurations.nitrogen = inputs.nixpkgs.lib.nixosSystem {
      inherit system;
      modules = [
        ./machines/nitrogen.nix
        ./nixos/modules/common.nix
        (import ./nixos/modules/overlays.nix)
      ] ++ inputs.nixpkgs.lib.optional true { networking.hostName = "nitrogen"; };
    };
  };
}
