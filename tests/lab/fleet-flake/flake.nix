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
      settings = builtins.fromJSON (builtins.readFile ./settings.json);
      names = [ "carbon" "beryllium" "boron" "nitrogen" ] ++ settings.further or [ ];
    in
    {
      nixosConfigurations = nixpkgs.lib.genAttrs names machine;
    };
}
