# For `nix flake init -t <this repository>#fleet`, and for flakes that want the
# overlay without the deployment. It has no inputs: nothing is fetched for it.
{
  description = "Hardware-optimised llama.cpp on a fleet of NixOS machines";

  outputs =
    { self }:
    {
      templates.fleet = {
        path = ./flake-template/standalone;
        description = "NixOS machines of a fleet, and the inventory to deploy them by";
        welcomeText = ''
          Put your public key into `authorized_keys`, describe your machines in
          `machines/` and `inventory.yml`, then: `orchestrate doctor`.
        '';
      };
      templates.default = self.templates.fleet;

      # Functions of llama.cpp's source tree, an input with `flake = false`:
      #   nixpkgs.overlays = [ (inputs.orchestrate.lib.overlay { inherit inputs; }) ];
      #   imports = [ (inputs.orchestrate.lib.homeManagerModule { inherit (inputs) llama-cpp; }) ];
      lib.overlay = import ./flake-template/overlay.nix;
      lib.homeManagerModule = import ./flake-template/home.nix;
    };
}
