{
  description = "The machines of someone who runs NixOS at home";

  inputs.nixpkgs.url = "@nixpkgs@";

  outputs =
    { self, nixpkgs }@inputs:
    let
      machine =
        name:
        nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          specialArgs = { inherit inputs; };
          modules = [
            ./modules/common.nix
            ./machines/${name}.nix
            { networking.hostName = name; }
          ]
          ++ nixpkgs.lib.optional (builtins.pathExists ./extra/${name}.nix) ./extra/${name}.nix;
        };
    in
    {
      nixosConfigurations = nixpkgs.lib.genAttrs [ "carbon" "beryllium" "boron" "nitrogen" ] machine;
    };
}
