{ lib }:
rec {
  fix = f: let x = f x; in x;
  extends =
    overlay: f: final:
    let
      prev = f final;
    in
    prev // overlay final prev;
  composeExtensions =
    f: g: final: prev:
    let
      first = f final prev;
    in
    first // g final (prev // first);
  composeManyExtensions = lib.foldr composeExtensions (_final: _prev: { });
  makeExtensible = makeExtensibleWithCustomName "extend";
  makeExtensibleWithCustomName =
    name: f:
    fix (self: (f self) // { ${name} = overlay: makeExtensibleWithCustomName name (extends overlay f); });
  # An overlay, a function of the old attributes alone, or plain attributes.
  toExtension =
    overlay:
    if lib.isFunction overlay then
      final: prev:
      let
        once = overlay prev;
      in
      if lib.isFunction once then overlay final prev else once
    else
      _final: _prev: overlay;
}
