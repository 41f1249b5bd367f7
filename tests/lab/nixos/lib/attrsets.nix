{ lib }:
rec {
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    getAttr
    hasAttr
    intersectAttrs
    isAttrs
    listToAttrs
    mapAttrs
    removeAttrs
    zipAttrsWith
    ;

  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = condition: attrs: if condition then attrs else { };
  mapAttrsToList = f: attrs: builtins.map (n: f n attrs.${n}) (builtins.attrNames attrs);
  attrsToList = mapAttrsToList nameValuePair;
  mapAttrs' = f: attrs: builtins.listToAttrs (mapAttrsToList f attrs);
  concatMapAttrs = f: attrs: mergeAttrsList (mapAttrsToList f attrs);
  mergeAttrsList = builtins.foldl' (a: b: a // b) { };
  filterAttrs =
    predicate: attrs:
    builtins.removeAttrs attrs (
      builtins.filter (n: !predicate n attrs.${n}) (builtins.attrNames attrs)
    );
  genAttrs' = names: f: builtins.listToAttrs (builtins.map f names);
  genAttrs = names: f: genAttrs' names (n: nameValuePair n (f n));
  foldlAttrs =
    f: start: attrs:
    builtins.foldl' (acc: n: f acc n attrs.${n}) start (builtins.attrNames attrs);
  getAttrs = names: attrs: genAttrs names (n: attrs.${n});
  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if builtins.isAttrs set && set ? ${builtins.head path} then
      attrByPath (builtins.tail path) default set.${builtins.head path}
    else
      default;
  hasAttrByPath =
    path: set:
    path == [ ]
    || (
      builtins.isAttrs set
      && set ? ${builtins.head path}
      && hasAttrByPath (builtins.tail path) set.${builtins.head path}
    );
  getAttrFromPath =
    path: set:
    attrByPath path (throw "cannot find attribute '${lib.concatStringsSep "." path}'") set;
  setAttrByPath =
    path: value:
    if path == [ ] then
      value
    else
      { ${builtins.head path} = setAttrByPath (builtins.tail path) value; };
  recursiveUpdateUntil =
    stop:
    let
      merge =
        path: a: b:
        a
        // builtins.mapAttrs (
          n: new: if a ? ${n} && !stop (path ++ [ n ]) a.${n} new then merge (path ++ [ n ]) a.${n} new else new
        ) b;
    in
    merge [ ];
  recursiveUpdate = recursiveUpdateUntil (
    _path: old: new:
    !(builtins.isAttrs old && builtins.isAttrs new)
  );
  mapAttrsRecursive =
    f:
    let
      go = path: builtins.mapAttrs (n: v: if builtins.isAttrs v then go (path ++ [ n ]) v else f (path ++ [ n ]) v);
    in
    go [ ];
  recurseIntoAttrs = attrs: attrs // { recurseForDerivations = true; };
  dontRecurseIntoAttrs = attrs: attrs // { recurseForDerivations = false; };
  isDerivation = x: x.type or null == "derivation";

  # A package's outputs by role; a package with one output plays every role.
  getOutput = output: pkg: if pkg.outputSpecified or false then pkg else pkg.${output} or pkg.out or pkg;
  getFirstOutput =
    candidates: pkg:
    let
      found = builtins.filter (output: pkg ? ${output}) candidates;
    in
    if pkg.outputSpecified or false || found == [ ] then pkg else pkg.${builtins.head found};
  getBin = getOutput "bin";
  getDev = getOutput "dev";
  getInclude = getFirstOutput [ "include" "dev" "out" ];
  getLib = getFirstOutput [ "lib" "out" ];
  getStatic = getFirstOutput [ "static" "lib" "out" ];
  getMan = getOutput "man";
}
