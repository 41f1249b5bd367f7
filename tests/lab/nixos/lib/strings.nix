{ lib }:
let
  lower = "abcdefghijklmnopqrstuvwxyz";
  upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  characters = s: builtins.genList (n: builtins.substring n 1 s) (builtins.stringLength s);
in
rec {
  inherit (builtins)
    compareVersions
    concatStringsSep
    match
    parseDrvName
    readFile
    replaceStrings
    split
    storeDir
    stringLength
    substring
    toFile
    toJSON
    unsafeDiscardStringContext
    ;

  concatStrings = builtins.concatStringsSep "";
  concatMapStrings = f: list: concatStrings (builtins.map f list);
  concatMapStringsSep = separator: f: list: builtins.concatStringsSep separator (builtins.map f list);
  concatMapAttrsStringSep =
    separator: f: attrs:
    builtins.concatStringsSep separator (lib.mapAttrsToList f attrs);
  concatLines = concatMapStrings (s: s + "\n");
  intersperse =
    separator: list:
    if list == [ ] || builtins.length list == 1 then
      list
    else
      builtins.tail (builtins.concatMap (x: [ separator x ]) list);
  optionalString = condition: s: if condition then s else "";
  stringToCharacters = characters;
  toLower = builtins.replaceStrings (characters upper) (characters lower);
  toUpper = builtins.replaceStrings (characters lower) (characters upper);
  hasPrefix = prefix: s: builtins.substring 0 (builtins.stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    let
      surplus = builtins.stringLength s - builtins.stringLength suffix;
    in
    surplus >= 0 && builtins.substring surplus (-1) s == suffix;
  hasInfix = infix: s: builtins.match ".*${escapeRegex infix}.*" (builtins.replaceStrings [ "\n" ] [ " " ] s) != null;
  removePrefix =
    prefix: s: if hasPrefix prefix s then builtins.substring (builtins.stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s:
    if hasSuffix suffix s then
      builtins.substring 0 (builtins.stringLength s - builtins.stringLength suffix) s
    else
      s;
  splitString =
    separator: s:
    builtins.filter builtins.isString (builtins.split (escapeRegex separator) (toString s));
  escape = chars: builtins.replaceStrings chars (builtins.map (c: "\\${c}") chars);
  escapeRegex = escape (characters "\\[{()^$?*+|.");
  escapeShellArg =
    arg:
    let
      s = toString arg;
    in
    if builtins.match "[[:alnum:],._+:@%/-]+" s != null then
      s
    else
      "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  trim =
    s:
    let
      found = builtins.match "[ \t\r\n]*(.*[^ \t\r\n])[ \t\r\n]*" s;
    in
    if found == null then "" else builtins.head found;
  fileContents = file: removeSuffix "\n" (builtins.readFile file);
  fixedWidthString =
    width: filler: s:
    if builtins.stringLength s >= width then s else fixedWidthString width filler (filler + s);
  makeSearchPath = subDir: paths: builtins.concatStringsSep ":" (builtins.map (p: "${p}/${subDir}") (builtins.filter (p: p != null) paths));
  makeSearchPathOutput =
    output: subDir: pkgs:
    makeSearchPath subDir (builtins.map (lib.getOutput output) pkgs);
  makeLibraryPath = pkgs: makeSearchPath "lib" (builtins.map lib.getLib pkgs);
  makeBinPath = makeSearchPathOutput "bin" "bin";
  makeIncludePath = pkgs: makeSearchPath "include" (builtins.map lib.getInclude pkgs);

  cmakeOptionType =
    type: name: value:
    "-D${name}:${type}=${value}";
  cmakeBool = name: value: cmakeOptionType "BOOL" name (if value then "TRUE" else "FALSE");
  cmakeFeature = cmakeOptionType "STRING";
  mesonBool = name: value: "-D${name}=${lib.boolToString value}";
  mesonOption = name: value: "-D${name}=${value}";
  enableFeature = flag: name: "--${if flag then "enable" else "disable"}-${name}";
  withFeature = flag: name: "--${if flag then "with" else "without"}-${name}";

  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  getName = x: if builtins.isString x then (builtins.parseDrvName x).name else x.pname or (builtins.parseDrvName x.name).name;
  getVersion = x: if builtins.isString x then (builtins.parseDrvName x).version else x.version or (builtins.parseDrvName x.name).version;
  isStringLike = x: builtins.isString x || builtins.isPath x || x ? outPath || x ? __toString;
  isConvertibleWithToString = x: isStringLike x || builtins.elem (builtins.typeOf x) [ "int" "float" "bool" "null" ];
  isStorePath = x: isStringLike x && builtins.dirOf (toString x) == builtins.storeDir;
  toInt = s: builtins.fromJSON (trim s);
  floatToString = toString;
  sanitizeDerivationName =
    s: concatMapStrings (part: if builtins.isList part then "-" else part) (builtins.split "[^[:alnum:]+._?=-]+" (unsafeDiscardStringContext s));
}
