{ lib }:
rec {
  isOption = x: x._type or null == "option";
  mkOption = attrs: attrs // { _type = "option"; };
  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };
  mkPackageOption =
    pkgs: name:
    {
      default ? name,
      nullable ? false,
      extraDescription ? "",
      ...
    }:
    let
      path = if builtins.isList name then name else [ name ];
      defaultPath = if default == null then null else if builtins.isList default then default else [ default ];
    in
    mkOption (
      {
        description = "The ${lib.last path} package to use. ${extraDescription}";
        type = (if nullable then lib.types.nullOr else lib.id) lib.types.package;
      }
      // lib.optionalAttrs (defaultPath != null) { default = lib.getAttrFromPath defaultPath pkgs; }
    );
  mkSinkUndeclaredOptions = attrs: mkOption ({ internal = true; visible = false; default = false; apply = _: throw "Option value is not readable"; } // attrs);
  literalExpression = text: { _type = "literalExpression"; inherit text; };
  literalMD = text: { _type = "literalMD"; inherit text; };
  mdDoc = lib.id;
  getValues = map (d: d.value);
  getFiles = map (d: d.file);
  showOption =
    path:
    lib.concatMapStringsSep "." (
      part: if builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*|<.*>|\\*" part != null then part else builtins.toJSON part
    ) path;
  showFiles = files: lib.concatMapStringsSep " and " (f: "`${toString f}'") files;
  showDefs =
    defs:
    lib.concatMapStrings (
      d:
      let
        shown = builtins.tryEval (if lib.isFunction d.value then "<function>" else if lib.isDerivation d.value then "<derivation ${d.value.name or "?"}>" else builtins.toJSON d.value);
      in
      "\n- In `${toString d.file}'${lib.optionalString shown.success ": ${shown.value}"}"
    ) defs;
  mergeOneOption =
    loc: defs:
    if builtins.length defs == 1 then
      (builtins.head defs).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\nDefinition values:${showDefs defs}";
  mergeEqualOption =
    loc: defs:
    if defs == [ ] then
      abort "mergeEqualOption: no definitions of ${showOption loc}"
    else if lib.all (d: d.value == (builtins.head defs).value) (builtins.tail defs) then
      (builtins.head defs).value
    else
      throw "The option `${showOption loc}' has conflicting definition values:${showDefs defs}\nUse `lib.mkForce value' or `lib.mkDefault value' to change the priority on any of these definitions.";
}
