# The part of nixpkgs' lib that llama.cpp's package and our own modules use:
# the same names, the same meaning, written anew.
let
  fix = f: let x = f x; in x;

  lib = fix (
    self:
    let
      part = file: import file { lib = self; };
      trivial = part ./trivial.nix;
      lists = part ./lists.nix;
      attrsets = part ./attrsets.nix;
      strings = part ./strings.nix;
      fixedPoints = part ./fixed-points.nix;
      customisation = part ./customisation.nix;
      sources = part ./sources.nix;
      meta = part ./meta.nix;
      options = part ./options.nix;
      types = part ./types.nix;
      modules = part ./modules.nix;
      systems = part ./systems.nix;
    in
    trivial
    // lists
    // attrsets
    // strings
    // fixedPoints
    // customisation
    // sources
    // meta
    // options
    // modules
    // {
      inherit
        trivial
        lists
        attrsets
        strings
        fixedPoints
        customisation
        sources
        meta
        options
        types
        modules
        systems
        ;
      inherit (meta) licenses platforms maintainers teams;
      # `lib.extend` adds to lib as an overlay does to pkgs.
      extend = overlay: fix (self.extends overlay (_: self));
    }
  );
in
lib
