# NixOS machines of a fleet: each file in machines/ is one, under its own name.
#
# llama.cpp isn't mentioned here: `orchestrate` looks at each machine's hardware
# and adds the build that fits.
{
  description = "The machines of a fleet";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;

      names = map (lib.removeSuffix ".nix") (
        lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir ./machines))
      );

      # Who may log in as root: the only way in after the first deployment.
      keys = lib.filter (line: line != "" && !lib.hasPrefix "#" line) (
        lib.splitString "\n" (builtins.readFile ./authorized_keys)
      );

      machine =
        name:
        lib.nixosSystem {
          modules = [
            ./machines/${name}.nix
            {
              networking.hostName = lib.mkDefault name;
              services.openssh.enable = true;
              users.users.root.openssh.authorizedKeys = { inherit keys; };
              assertions = [
                {
                  assertion = keys != [ ];
                  message = "authorized_keys holds no key: nobody could log in any more";
                }
              ];
            }
          ];
        };
    in
    {
      nixosConfigurations = lib.genAttrs names machine;
    };
}
