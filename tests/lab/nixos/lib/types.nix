# Types of options: a check, and how several definitions become one value.
{ lib }:
let
  inherit (lib) mergeDefinitions mergeEqualOption mergeOneOption showOption showDefs;

  mkOptionType =
    {
      name,
      description ? name,
      check ? _: true,
      merge ? mergeEqualOption,
      emptyValue ? { },
      typeMerge ? null,
      ...
    }@attrs:
    attrs
    // {
      _type = "option-type";
      inherit name description check merge emptyValue;
      typeMerge = if typeMerge != null then typeMerge else other: if other.name == name then attrs.self or (mkOptionType attrs) else null;
    };

  simple = name: description: check: mkOptionType { inherit name description check; };
  joined =
    name: separator: element:
    mkOptionType {
      inherit name;
      description = "strings concatenated with ${builtins.toJSON separator}";
      check = builtins.isString;
      merge = _loc: defs: lib.concatStringsSep separator (map (d: d.value) defs);
    };
  between =
    lowest: highest:
    simple "intBetween" "integer between ${toString lowest} and ${toString highest} (both inclusive)" (
      x: builtins.isInt x && x >= lowest && x <= highest
    );
  attrsWith =
    lazy: elementType:
    mkOptionType {
      name = if lazy then "lazyAttrsOf" else "attrsOf";
      description = "attribute set of ${elementType.description}";
      check = builtins.isAttrs;
      emptyValue.value = { };
      nestedTypes = { inherit elementType; };
      merge =
        loc: defs:
        let
          named = builtins.zipAttrsWith (name: mergeDefinitions (loc ++ [ name ]) elementType) (
            map (d: builtins.mapAttrs (_: value: { inherit (d) file; inherit value; }) d.value) defs
          );
        in
        builtins.mapAttrs (_: r: r.mergedValue) (
          if lazy then named else lib.filterAttrs (_: r: r.isDefined) named
        );
    };

  types = {
    inherit mkOptionType;
    raw = mkOptionType { name = "raw"; description = "raw value"; merge = mergeOneOption; };
    unspecified = mkOptionType { name = "unspecified"; description = "unspecified value"; };
    optionType = types.raw;
    bool = simple "bool" "boolean" builtins.isBool;
    int = simple "int" "signed integer" builtins.isInt;
    float = simple "float" "floating point number" builtins.isFloat;
    number = simple "number" "number" (x: builtins.isInt x || builtins.isFloat x);
    str = simple "str" "string" builtins.isString;
    singleLineStr = simple "singleLineStr" "string without line breaks" (s: builtins.isString s && builtins.match "[^\n]*" s != null);
    nonEmptyStr = simple "nonEmptyStr" "non-empty string" (s: builtins.isString s && lib.trim s != "");
    strMatching = pattern: simple "strMatching" "string matching the pattern ${pattern}" (s: builtins.isString s && builtins.match pattern s != null);
    string = types.str;
    lines = joined "lines" "\n" null;
    commas = joined "commas" "," null;
    envVar = joined "envVar" ":" null;
    separatedString = separator: joined "separatedString" separator null;
    path = simple "path" "absolute path" (x: lib.isStringLike x && builtins.substring 0 1 (toString x) == "/");
    pathInStore = types.path;
    package = mkOptionType {
      name = "package";
      check = x: lib.isDerivation x || lib.isStorePath x;
      merge = mergeOneOption;
    };
    shellPackage = types.package;
    pkgs = types.raw;
    port = between 0 65535;
    ints = {
      inherit between;
      unsigned = simple "unsignedInt" "unsigned integer, meaning >=0" (x: builtins.isInt x && x >= 0);
      positive = simple "positiveInt" "positive integer, meaning >0" (x: builtins.isInt x && x > 0);
      u8 = between 0 255;
      u16 = between 0 65535;
      u32 = between 0 4294967295;
    };
    enum =
      values:
      simple "enum" "one of ${lib.concatMapStringsSep ", " builtins.toJSON values}" (x: builtins.elem x values);
    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = builtins.isAttrs;
      emptyValue.value = { };
      merge = _loc: builtins.foldl' (result: d: result // d.value) { };
    };
    attrsOf = attrsWith false;
    lazyAttrsOf = attrsWith true;
    listOf =
      elementType:
      mkOptionType {
        name = "listOf";
        description = "list of ${elementType.description}";
        check = builtins.isList;
        emptyValue.value = [ ];
        nestedTypes = { inherit elementType; };
        merge =
          loc: defs:
          map (r: r.mergedValue) (
            builtins.filter (r: r.isDefined) (
              builtins.concatLists (
                lib.imap1 (
                  n: d:
                  lib.imap1 (
                    m: value:
                    mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elementType [ { inherit (d) file; inherit value; } ]
                  ) d.value
                ) defs
              )
            )
          );
      };
    nonEmptyListOf = elementType: types.addCheck (types.listOf elementType) (list: list != [ ]);
    nullOr =
      inner:
      mkOptionType {
        name = "nullOr";
        description = "null or ${inner.description}";
        check = x: x == null || inner.check x;
        emptyValue.value = null;
        nestedTypes.elementType = inner;
        merge =
          loc: defs:
          let
            nulls = builtins.partition (d: d.value == null) defs;
          in
          if nulls.wrong == [ ] then
            null
          else if nulls.right != [ ] then
            throw "The option `${showOption loc}' is defined both null and not null, in:${showDefs defs}"
          else
            inner.merge loc defs;
      };
    either =
      a: b:
      mkOptionType {
        name = "either";
        description = "${a.description} or ${b.description}";
        check = x: a.check x || b.check x;
        nestedTypes = { left = a; right = b; };
        merge =
          loc: defs:
          if lib.all (d: a.check d.value) defs then
            a.merge loc defs
          else if lib.all (d: b.check d.value) defs then
            b.merge loc defs
          else
            mergeOneOption loc defs;
      };
    oneOf = alternatives: lib.foldr types.either (lib.last alternatives) (lib.init alternatives);
    uniq = inner: inner // { merge = mergeOneOption; };
    unique = _message: types.uniq;
    addCheck = inner: check: inner // { check = x: inner.check x && check x; };
    coercedTo =
      from: coerce: to:
      to
      // {
        name = "coercedTo";
        description = "${to.description} or ${from.description} convertible to it";
        check = x: to.check x || (from.check x && to.check (coerce x));
        merge =
          loc: defs:
          to.merge loc (map (d: if from.check d.value then d // { value = coerce d.value; } else d) defs);
      };
    functionTo =
      result:
      mkOptionType {
        name = "functionTo";
        description = "function that evaluates to ${result.description}";
        check = lib.isFunction;
        merge =
          loc: defs: arg:
          (mergeDefinitions (loc ++ [ "<function body>" ]) result (map (d: d // { value = d.value arg; }) defs)).mergedValue;
      };
    anything = mkOptionType {
      name = "anything";
      merge =
        loc: defs:
        let
          kinds = lib.unique (map (d: if lib.isDerivation d.value then "package" else builtins.typeOf d.value) defs);
          kind = builtins.head kinds;
        in
        if builtins.length kinds > 1 then
          throw "The option `${showOption loc}' has conflicting types of definitions:${showDefs defs}"
        else if kind == "set" then
          (types.lazyAttrsOf types.anything).merge loc defs
        else if kind == "list" then
          builtins.concatMap (d: d.value) defs
        else if kind == "package" || kind == "lambda" then
          mergeOneOption loc defs
        else
          mergeEqualOption loc defs;
    };
    deferredModule = mkOptionType {
      name = "deferredModule";
      description = "module";
      check = x: builtins.isAttrs x || lib.isFunction x || builtins.isPath x;
      merge = _loc: defs: { imports = map (d: lib.setDefaultModuleLocation d.file d.value) defs; };
    };
    submodule = module: types.submoduleWith { modules = lib.toList module; shorthandOnlyDefinesConfig = true; };
    submoduleWith =
      {
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? false,
        description ? "submodule",
        class ? null,
      }:
      let
        base = lib.evalModules {
          inherit specialArgs class;
          modules = [ { _module.args.name = lib.mkOptionDefault "‹name›"; } ] ++ modules;
        };
        asModule =
          d:
          if builtins.isAttrs d.value && shorthandOnlyDefinesConfig then
            { _file = d.file; config = d.value; }
          else
            { _file = d.file; imports = [ d.value ]; };
      in
      mkOptionType {
        name = "submodule";
        inherit description;
        check = x: builtins.isAttrs x || lib.isFunction x || builtins.isPath x;
        emptyValue.value = { };
        getSubModules = modules;
        merge =
          loc: defs:
          (base.extendModules {
            modules = [ { _module.args.name = lib.last loc; } ] ++ map asModule defs;
            prefix = loc;
          }).config;
        typeMerge =
          other:
          if other ? getSubModules then
            types.submoduleWith {
              inherit specialArgs shorthandOnlyDefinesConfig description class;
              modules = modules ++ other.getSubModules;
            }
          else
            null;
      };
  };
in
types
