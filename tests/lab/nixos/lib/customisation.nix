{ lib }:
rec {
  # Gives a function's result `override` (its arguments again) and, for a
  # package, keeps `override` through `overrideAttrs`.
  makeOverridable =
    f:
    lib.mirrorFunctionArgs f (
      args:
      let
        result = f args;
        again = new: makeOverridable f (args // lib.toFunction new args);
        mapResult = g: makeOverridable (lib.mirrorFunctionArgs f (a: g (f a))) args;
      in
      if builtins.isAttrs result then
        result
        // {
          override = lib.mirrorFunctionArgs f again;
          overrideDerivation = _: throw "overrideDerivation: use overrideAttrs";
        }
        // lib.optionalAttrs (result ? overrideAttrs) {
          overrideAttrs = change: mapResult (package: package.overrideAttrs change);
        }
      else if lib.isFunction result then
        lib.setFunctionArgs result (lib.functionArgs result) // { override = again; }
      else
        result
    );

  # Calls a function, or the file that holds it, with the arguments of its
  # names out of a set.
  callPackageWith =
    scope: fileOrFunction: args:
    let
      f = if lib.isFunction fileOrFunction then fileOrFunction else import fileOrFunction;
      wanted = lib.functionArgs f;
      given = builtins.intersectAttrs wanted scope // args;
      missing = builtins.filter (n: !wanted.${n} && !(given ? ${n})) (builtins.attrNames wanted);
      position = builtins.unsafeGetAttrPos (builtins.head missing) wanted;
    in
    if missing == [ ] then
      makeOverridable f given
    else
      throw ''Function called without required argument "${builtins.head missing}"${
        lib.optionalString (position != null) " at ${position.file}:${toString position.line}"
      }'';
  callPackagesWith =
    scope: fileOrFunction: args:
    callPackageWith scope fileOrFunction args;

  makeScope =
    newScope: f:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope = overlay: makeScope newScope (lib.extends overlay f);
        packages = f;
      };
    in
    self;

  # Adds attributes to a derivation and lets a condition guard what evaluates it.
  extendDerivation =
    condition: passthru: drv:
    let
      outputs = drv.outputs or [ "out" ];
      common = drv // passthru // { inherit outputs; all = builtins.map (o: byName.${o}) outputs; } // byName;
      byName = lib.genAttrs outputs (
        output:
        common
        // {
          inherit (drv.${output}) type outputName;
          outputSpecified = true;
          drvPath = assert condition; drv.${output}.drvPath;
          outPath = assert condition; drv.${output}.outPath;
        }
      );
    in
    common
    // {
      drvPath = assert condition; drv.drvPath;
      outPath = assert condition; drv.outPath;
    };

  lazyDerivation = { derivation, ... }: derivation;
  hydraJob = lib.id;
}
