{ lib }:
{
  inherit (builtins)
    addErrorContext
    bitAnd
    bitOr
    bitXor
    fromJSON
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isPath
    isString
    lessThan
    pathExists
    readFile
    seq
    toJSON
    ;

  release = "26.05";
  versionSuffix = ".standin";
  version = lib.release + lib.versionSuffix;

  id = x: x;
  const = x: _: x;
  flip = f: a: b: f b a;
  pipe = builtins.foldl' (x: f: f x);
  mapNullable = f: x: if x == null then null else f x;
  defaultTo = default: x: if x == null then default else x;
  boolToString = b: if b then "true" else "false";
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  importJSON = path: builtins.fromJSON (builtins.readFile path);

  # A functor may carry the arguments of the function that it wraps.
  functionArgs =
    f:
    if f ? __functor then
      f.__functionArgs or (lib.functionArgs (f.__functor f))
    else
      builtins.functionArgs f;
  isFunction = f: builtins.isFunction f || (f ? __functor && lib.isFunction (f.__functor f));
  setFunctionArgs = f: args: {
    __functor = _: f;
    __functionArgs = args;
  };
  mirrorFunctionArgs =
    from: to:
    let
      args = lib.functionArgs from;
    in
    if args == { } then to else lib.setFunctionArgs to args;
  toFunction = v: if lib.isFunction v then v else _: v;

  warn = message: builtins.trace "evaluation warning: ${message}";
  warnIf = condition: message: if condition then lib.warn message else lib.id;
  warnIfNot = condition: lib.warnIf (!condition);
  throwIf = condition: message: if condition then throw message else lib.id;
  throwIfNot = condition: lib.throwIf (!condition);
  assertMsg = condition: message: condition || throw message;
  showWarnings = warnings: value: lib.foldr lib.warn value warnings;
}
