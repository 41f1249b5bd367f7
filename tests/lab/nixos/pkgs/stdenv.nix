# mkDerivation on a builder without a sandbox: the tools are the builder's own,
# the interface is nixpkgs'.
{ lib, hostPlatform, config }:
let
  dependencies = [
    "nativeBuildInputs"
    "buildInputs"
    "propagatedBuildInputs"
    "propagatedNativeBuildInputs"
    "depsBuildBuild"
    "nativeCheckInputs"
    "checkInputs"
  ];
  # What nixpkgs keeps out of the builder's environment.
  notEnvironment = [ "meta" "passthru" "env" "pos" "checkInputs" "nativeCheckInputs" "strictDeps" "enableParallelBuilding" "__structuredAttrs" ];

  nameOf =
    attrs:
    attrs.name or (
      if attrs ? pname && attrs ? version then
        "${attrs.pname}-${attrs.version}"
      else
        throw "mkDerivation: neither name nor both pname and version are set"
    );

  licensesOf = meta: lib.toList (meta.license or [ ]);
  unfree = meta: lib.any (l: !(l.free or true)) (licensesOf meta);
  where =
    pos: lib.optionalString (pos != null) " in ${pos.file}:${toString pos.line}";
  # The reasons that make nixpkgs refuse a package, or null.
  refusal =
    package: meta:
    if unfree meta && !config.allowUnfree && !config.allowUnfreePredicate package then
      {
        reason = "it has an unfree license (‘${lib.concatMapStringsSep ", " (l: l.shortName or "unknown") (licensesOf meta)}’)";
        remedy = ''
          a) For `nixos-rebuild` you can set
            { nixpkgs.config.allowUnfree = true; }
          in configuration.nix to override this.

          b) Alternatively you can configure a predicate to allow specific packages:
            { nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [
                "${lib.getName package}"
              ];
            }
        '';
      }
    else if meta.broken or false && !config.allowBroken then
      {
        reason = "it is marked as broken";
        remedy = "Set { nixpkgs.config.allowBroken = true; } to override this.\n";
      }
    else if !lib.meta.meetsPlatform hostPlatform meta then
      {
        reason = "it is not available on the requested hostPlatform: ${hostPlatform.system}";
        remedy = "Set { nixpkgs.config.allowUnsupportedSystem = true; } to override this.\n";
      }
    else
      null;

  build =
    attrs: recurse:
    let
      env =
        if builtins.isAttrs (attrs.env or { }) then
          attrs.env or { }
        else
          throw "mkDerivation: `env` must be an attribute set, not a ${builtins.typeOf attrs.env}";
      overlap = builtins.attrNames (builtins.intersectAttrs attrs env);
      inputsOf = name: builtins.filter (x: x != null) (lib.flatten (attrs.${name} or [ ]));
      inputs = lib.genAttrs (builtins.filter (n: attrs ? ${n}) dependencies) (
        name: map lib.getDev (inputsOf name)
      );
      plain = builtins.removeAttrs attrs notEnvironment;
      drv = derivation (
        plain
        // inputs
        // lib.throwIf (overlap != [ ])
          "mkDerivation: the ‘env’ attribute set cannot contain any attributes passed to derivation. The following attributes are overlapping: ${toString overlap}"
          env
        // {
          name = nameOf attrs;
          system = hostPlatform.system;
          builder = attrs.realBuilder or "/bin/bash";
          args = attrs.args or [ "-e" ./setup.sh ];
          PATH = "/usr/bin:/bin";
          outputs = attrs.outputs or [ "out" ];
          # Hooks and phases of these run on the builder.
          hookInputs = builtins.concatMap (n: inputs.${n} or [ ]) [ "nativeBuildInputs" "buildInputs" "propagatedBuildInputs" ];
        }
      );
      meta = {
        name = nameOf attrs;
        position = if position == null then null else "${position.file}:${toString position.line}";
        available = refusal package meta == null;
        unfree = unfree meta;
        unsupported = !lib.meta.meetsPlatform hostPlatform meta;
        broken = false;
      }
      // attrs.meta or { };
      position = builtins.unsafeGetAttrPos (if attrs ? pname then "pname" else "name") attrs;
      package = attrs // { inherit meta; name = nameOf attrs; };
      refused = refusal package meta;
      valid =
        refused == null
        || throw "Refusing to evaluate package '${nameOf attrs}'${where position} because ${refused.reason}\n\n${refused.remedy}";
    in
    lib.extendDerivation valid (
      {
        inherit meta;
        passthru = attrs.passthru or { };
        overrideAttrs = change: recurse (lib.toExtension change);
        inherit (attrs) name;
      }
      // lib.optionalAttrs (attrs ? env) { inherit env; }
      // attrs.passthru or { }
    ) (drv // { name = nameOf attrs; });

  # The attributes may be a function of their own final value.
  mkDerivation =
    attrsOrFunction:
    let
      f = lib.toFunction attrsOrFunction;
      finalAttrs = f (finalAttrs // { finalPackage = package; });
      package = build (finalAttrs // { name = nameOf finalAttrs; }) (
        overlay:
        mkDerivation (
          final:
          let
            previous = f final;
          in
          previous // overlay final previous
        )
      );
    in
    package;
in
{
  name = "stdenv-standin";
  inherit hostPlatform mkDerivation;
  buildPlatform = hostPlatform;
  targetPlatform = hostPlatform;
  inherit (hostPlatform) isLinux isDarwin isx86_64 isAarch64;
  shell = "/bin/bash";
  cc = {
    isGNU = true;
    isClang = false;
    targetPrefix = "";
  };
}
