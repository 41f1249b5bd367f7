# The variants under the names that Nix's own commands look for: packages,
# legacyPackages, an overlay and a Home Manager module.
#
# `machines` are the user's configurations that are in the fleet. Every
# attribute is evaluated alone, so that a refused licence refuses one package.
{
  user,
  llama-cpp,
  machines,
  acceptedLicences,
}:
let
  inherit (builtins)
    any
    attrNames
    attrValues
    filter
    head
    listToAttrs
    parseDrvName
    substring
    ;

  overlay = import ./overlay.nix { inherit llama-cpp acceptedLicences; };

  machinesOf =
    system: filter (nixos: nixos.pkgs.stdenv.hostPlatform.system == system) (attrValues machines);

  # An unfree licence is accepted here where a machine of the fleet accepts it.
  # Nothing looks at the machines until a package asks.
  accepted =
    system: package:
    any (
      nixos:
      (nixos.pkgs.config.allowUnfree or false)
      || (nixos.pkgs.config.allowUnfreePredicate or (_: false)) package
    ) (machinesOf system);

  # As above, for whoever asks what a variant would need: accepts all, and tells.
  tellUnfree =
    package:
    builtins.trace "needs unfree: ${package.pname or (parseDrvName package.name).name}" true;

  # The user's nixpkgs, so that no further input is fetched.
  pkgsFor =
    system: allowUnfreePredicate:
    if user.inputs ? nixpkgs then
      import user.inputs.nixpkgs {
        inherit system;
        config = { inherit allowUnfreePredicate; };
      }
    else
      (head (machinesOf system ++ [ (throw noPkgs.${system}) ])).pkgs;
  noPkgs = perSystem (
    system: "the flake has no input called nixpkgs, and no machine of the fleet is ${system}"
  );

  # The lib is made by hand: whose nixpkgs it would be from isn't known yet.
  perSystem =
    function:
    listToAttrs (
      map
        (system: {
          name = system;
          value = function system;
        })
        [
          "x86_64-linux"
          "aarch64-linux"
        ]
    );
  isVariant = name: substring 0 9 name == "llama-cpp";

  extendedFor = system: (pkgsFor system (accepted system)).extend overlay;
  variantsIn =
    pkgs:
    { default = pkgs.llama-cpp; }
    // listToAttrs (
      map (name: {
        inherit name;
        value = pkgs.${name};
      }) (filter isVariant (attrNames (overlay pkgs pkgs)))
    );
in
{
  packages = perSystem (system: variantsIn (extendedFor system));
  legacyPackages = perSystem (system: {
    inherit (extendedFor system) llamaPackages;
    anyLicence = variantsIn ((pkgsFor system tellUnfree).extend overlay);
  });
  overlays.default = overlay;
  homeManagerModules.default = import ./home.nix { inherit llama-cpp; };
}
