# A module system with NixOS's semantics for what configurations of machines
# use: imports, options, priorities, merging, submodules, freeform types,
# module arguments, and extendModules.
{ lib }:
let
  inherit (lib) isFunction isOption showOption showDefs;
  typeOf = x: if builtins.isAttrs x then x._type or "" else "";

  # mkIf and mkOverride around a set move onto its attributes, so that looking
  # at the names never evaluates a condition.
  pushDown =
    value:
    {
      "merge" = builtins.concatMap pushDown value.contents;
      "if" = map (builtins.mapAttrs (_: mkIf value.condition)) (pushDown value.content);
      "override" = map (builtins.mapAttrs (_: mkOverride value.priority)) (pushDown value.content);
    }
    .${typeOf value} or [ value ];

  # What is left of a definition when its conditions are known.
  discharge =
    value:
    {
      "merge" = builtins.concatMap discharge value.contents;
      "if" =
        if !builtins.isBool value.condition then
          throw "‘mkIf’ called with a non-Boolean condition"
        else
          lib.optionals value.condition (discharge value.content);
    }
    .${typeOf value} or [ value ];

  priorityOf = d: if typeOf d.value == "override" then d.value.priority else 100;
  orderOf = d: if typeOf d.value == "order" then d.value.priority else 1000;
  unwrap = type: d: if typeOf d.value == type then d // { value = d.value.content; } else d;

  strongest =
    defs:
    let
      best = builtins.foldl' (least: d: lib.min least (priorityOf d)) 9999 defs;
    in
    map (unwrap "override") (builtins.filter (d: priorityOf d == best) defs);
  inOrder =
    defs:
    if lib.any (d: typeOf d.value == "order") defs then
      map (unwrap "order") (builtins.sort (a: b: orderOf a < orderOf b) defs)
    else
      defs;

  mergeDefinitions =
    loc: type: defs:
    let
      discharged = builtins.concatMap (d: map (value: { inherit (d) file; inherit value; }) (discharge d.value)) defs;
      final = inOrder (strongest discharged);
      wrong = builtins.filter (d: !type.check d.value) final;
    in
    rec {
      defsFinal = final;
      isDefined = final != [ ];
      mergedValue =
        if !isDefined then
          type.emptyValue.value
            or (throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.")
        else if wrong != [ ] then
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs wrong}"
        else
          type.merge loc final;
    };

  mergeDeclarations =
    loc: declarations:
    builtins.foldl' (
      merged: declaration:
      let
        option = declaration.options;
        both = merged ? type && option ? type;
        mergedType = if both then merged.type.typeMerge option.type else null;
        clash = builtins.filter (n: merged ? ${n} && option ? ${n}) [ "default" "apply" "description" ];
      in
      if (both && mergedType == null) || (clash != [ ] && !both) then
        throw "The option `${showOption loc}' in `${declaration.file}' is already declared in ${lib.showFiles merged.declarations}."
      else
        merged
        // option
        // {
          declarations = merged.declarations ++ [ declaration.file ];
        }
        // lib.optionalAttrs both { type = mergedType; }
    ) { inherit loc; declarations = [ ]; } declarations;

  evalOption =
    loc: declarations: defs:
    let
      option = mergeDeclarations loc declarations;
      type = option.type or lib.types.unspecified;
      default = lib.optional (option ? default) {
        file = builtins.head option.declarations;
        value = mkOptionDefault option.default;
      };
      result = mergeDefinitions loc type (default ++ defs);
      merged =
        if option.readOnly or false && builtins.length (default ++ defs) > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs defs}"
        else
          builtins.addErrorContext "while evaluating the option `${showOption loc}':" result.mergedValue;
    in
    option
    // {
      inherit type;
      _type = "option";
      inherit (result) isDefined;
      value = (option.apply or lib.id) merged;
      definitions = map (d: d.value) result.defsFinal;
      definitionsWithLocations = result.defsFinal;
      files = map (d: d.file) result.defsFinal;
      highestPrio = builtins.foldl' (least: d: lib.min least (priorityOf d)) 9999 (default ++ defs);
    };

  asSubmodule = d: {
    inherit (d) file;
    options = lib.mkOption {
      type = lib.types.submoduleWith {
        modules = [ { _file = d.file; inherit (d) options; } ];
      };
    };
  };

  # One level of the tree of options with the definitions that belong to it.
  mergeTree =
    prefix: declarations: defs:
    let
      pushed = builtins.concatMap (d: map (value: { inherit (d) file; inherit value; }) (pushDown d.value)) defs;
      byName =
        lists:
        builtins.zipAttrsWith (_: values: values) lists;
      definedBy = byName (
        map (
          d:
          if builtins.isAttrs d.value then
            builtins.mapAttrs (_: value: { inherit (d) file; inherit value; }) d.value
          else
            throw "In `${d.file}', `${showOption prefix}' is a set of options and cannot be a ${builtins.typeOf d.value}."
        ) pushed
      );
      declaredBy = byName (
        map (d: builtins.mapAttrs (_: options: { inherit (d) file; inherit options; }) d.options) declarations
      );
      resultOf =
        name: declared:
        let
          loc = prefix ++ [ name ];
          here = definedBy.${name} or [ ];
          leaves = builtins.partition (d: isOption d.options) declared;
          option = evalOption loc declared here;
        in
        if leaves.wrong == [ ] then
          {
            options = option;
            config = option.value;
            unmatched = [ ];
          }
        else if lib.all (d: d.options ? type.getSubModules) leaves.right && leaves.right != [ ] then
          # Options inside of an option that is a submodule belong to that.
          resultOf name (leaves.right ++ map asSubmodule leaves.wrong)
        else if leaves.right != [ ] then
          throw "The option `${showOption loc}' in ${lib.showFiles (map (d: d.file) leaves.right)} would be a parent of the options in ${lib.showFiles (map (d: d.file) leaves.wrong)}."
        else
          mergeTree loc declared here;
      results = builtins.mapAttrs resultOf declaredBy;
      strangers = builtins.removeAttrs definedBy (builtins.attrNames declaredBy);
    in
    {
      options = builtins.mapAttrs (_: r: r.options) results;
      config = builtins.mapAttrs (_: r: r.config) results;
      unmatched =
        builtins.concatLists (
          lib.mapAttrsToList (name: map (d: d // { path = prefix ++ [ name ]; })) strangers
        )
        ++ builtins.concatMap (r: r.unmatched) (builtins.attrValues results);
    };

  keywords = [ "_class" "_file" "key" "disabledModules" "imports" "options" "config" "meta" "freeformType" ];

  # The one shape that the rest works on, whichever way a module is written.
  unify =
    file: key: m:
    let
      surplus = builtins.attrNames (builtins.removeAttrs m keywords);
      freeform = lib.optionalAttrs (m ? freeformType) { _module.freeformType = m.freeformType; };
      structured = m ? config || m ? options;
      base = {
        file = toString (m._file or file);
        key = toString (m.key or key);
        imports = m.imports or [ ];
        disabled = m.disabledModules or [ ];
      };
    in
    if builtins.elem (typeOf m) [ "if" "merge" "override" ] then
      unify file key { config = m; }
    else if structured && surplus != [ ] then
      throw "Module `${toString key}' has an unsupported attribute `${builtins.head surplus}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString surplus}) into the explicit `config' attribute."
    else if structured then
      base
      // {
        options = m.options or { };
        config = mkMerge [ freeform (m.config or { }) ];
      }
    else
      base
      // {
        options = { };
        config = mkMerge [ freeform (builtins.removeAttrs m keywords) ];
      };

  load =
    args: moduleArgs: parent: position: m:
    let
      isFile = builtins.isPath m || builtins.isString m || (builtins.isAttrs m && m ? outPath && !(m ? _type && m._type != "flake"));
      file = if isFile then toString m else parent.file;
      key = if isFile then toString m else "${parent.key}:anon-${toString position}";
      content = if isFile then import (if builtins.isAttrs m then m.outPath else m) else m;
      wanted = builtins.mapAttrs (
        name: _:
        builtins.addErrorContext "while evaluating the module argument `${name}' in `${file}':" (
          args.${name} or moduleArgs.${name}
        )
      ) (lib.functionArgs content);
      value = if isFunction content then content (args // wanted) else content;
    in
    if builtins.isAttrs value then
      unify file key value
    else
      throw "The module in `${file}' is a ${builtins.typeOf value}, not a set or a function.";

  collect =
    args: moduleArgs: modules:
    let
      loadAll = parent: lib.imap1 (load args moduleArgs parent);
      all = builtins.genericClosure {
        startSet = loadAll { file = "<unknown-file>"; key = ""; } modules;
        operator = m: loadAll m m.imports;
      };
      # Names are relative to NixOS's module folder.
      resolve = m: if builtins.isString m && !(lib.hasPrefix "/" m) then "${toString args.modulesPath or ""}/${m}" else toString m;
      disabled = map resolve (builtins.concatMap (m: m.disabled) all);
    in
    if disabled == [ ] then all else builtins.filter (m: !(builtins.elem m.key disabled)) all;

  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  mkOptionDefault = mkOverride 1500;

  internals =
    { lib, ... }:
    {
      _file = "lib/modules.nix";
      key = "lib/modules.nix";
      options._module = {
        args = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; };
        check = lib.mkOption { type = lib.types.bool; default = true; };
        freeformType = lib.mkOption { type = lib.types.nullOr lib.types.raw; default = null; };
      };
    };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      class ? null,
      args ? { },
      check ? true,
    }:
    let
      moduleArgs = tree.config._module.args;
      extendModules =
        {
          modules ? [ ],
          specialArgs ? { },
          prefix ? [ ],
        }:
        evalModules (
          evalArguments
          // {
            inherit prefix;
            modules = evalArguments.modules ++ modules;
            specialArgs = evalArguments.specialArgs // specialArgs;
          }
        );
      evalArguments = { inherit modules specialArgs class; };
      passed = {
        inherit lib config specialArgs;
        inherit (tree) options;
        _class = class;
        _prefix = prefix;
      } // specialArgs;
      plumbing = {
        _file = "lib/modules.nix";
        key = "lib/modules.nix#arguments";
        config._module.args = { inherit extendModules; } // args;
        config._module.check = lib.mkIf (!check) false;
      };
      collected = collect passed moduleArgs (modules ++ [ internals plumbing ]);
      tree = mergeTree prefix (map (m: { inherit (m) file options; }) collected) (
        map (m: { inherit (m) file; value = m.config; }) collected
      );
      inherit (tree.config._module) freeformType;
      # The path below our own prefix.
      below = path: lib.drop (builtins.length prefix) path;
      strangers = freeformType.merge prefix (
        map (d: { inherit (d) file; value = lib.setAttrByPath (below d.path) d.value; }) tree.unmatched
      );
      config =
        if freeformType == null || tree.unmatched == [ ] then
          tree.config
        else
          lib.recursiveUpdate strangers tree.config;
      first = builtins.head tree.unmatched;
      checked =
        if freeformType == null && tree.config._module.check && tree.unmatched != [ ] then
          throw "The option `${showOption first.path}' does not exist. Definition values:${showDefs [ first ]}"
        else
          lib.id;
    in
    {
      _type = "configuration";
      inherit class extendModules;
      inherit (tree) options;
      config = checked (builtins.removeAttrs config [ "_module" ]);
      _module = tree.config._module;
    };
in
{
  inherit
    evalModules
    mergeDefinitions
    mkIf
    mkMerge
    mkOverride
    mkOptionDefault
    mkOrder
    ;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkAssert = condition: message: content: if condition then content else throw "\nFailed assertion: ${message}";
  setDefaultModuleLocation = file: m: { _file = file; imports = [ m ]; };
  importApply = file: args: lib.setDefaultModuleLocation file (import file args);
  mkAliasOptionModule =
    from: to:
    { config, options, ... }:
    {
      options = lib.setAttrByPath from (lib.mkOption { visible = false; apply = _: lib.getAttrFromPath to config; });
      config = lib.setAttrByPath to (
        mkMerge (map (d: d.value) (lib.getAttrFromPath from options).definitionsWithLocations)
      );
    };
  mkRenamedOptionModule = lib.mkAliasOptionModule;
}
