{ lib }:
rec {
  cleanSourceFilter =
    name: type:
    let
      base = baseNameOf (toString name);
    in
    !(
      builtins.elem base [ ".git" ".svn" "CVS" ".hg" ".jj" ]
      || lib.hasSuffix "~" base
      || builtins.match "\\.sw[a-z]|\\..*\\.sw[a-z]" base != null
      || lib.hasSuffix ".o" base
      || lib.hasSuffix ".so" base
      || (type == "symlink" && (base == "result" || lib.hasPrefix "result-" base))
      || type == "unknown"
    );
  cleanSource = src: cleanSourceWith { inherit src; filter = cleanSourceFilter; };
  # A filter on a filtered source works on the original: one copy to the store.
  cleanSourceWith =
    {
      src,
      filter ? _name: _type: true,
      name ? null,
    }:
    let
      inner = builtins.isAttrs src && src ? _isLibCleanSourceWith;
      origSrc = if inner then src.origSrc else src;
      both = if inner then n: t: src.filter n t && filter n t else filter;
      finalName = if name != null then name else if inner then src.name else "source";
    in
    {
      inherit origSrc;
      filter = both;
      name = finalName;
      outPath = builtins.path {
        filter = both;
        name = finalName;
        path = origSrc;
      };
      _isLibCleanSourceWith = true;
    };
  sourceByRegex =
    src: patterns:
    cleanSourceWith {
      inherit src;
      filter =
        path: _type:
        lib.any (p: builtins.match p (lib.removePrefix (toString src + "/") (toString path)) != null) patterns;
    };
}
