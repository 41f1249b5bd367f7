{ lib }:
let
  inherit (builtins) elemAt genList length;
in
rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    groupBy
    head
    length
    map
    partition
    sort
    tail
    ;

  singleton = x: [ x ];
  optional = condition: x: if condition then [ x ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  toList = x: if builtins.isList x then x else [ x ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  imap1 = f: list: genList (n: f (n + 1) (elemAt list n)) (length list);
  foldr =
    op: nul: list:
    let
      len = length list;
      go = n: if n == len then nul else op (elemAt list n) (go (n + 1));
    in
    go 0;
  fold = foldr;
  foldl = builtins.foldl';
  flatten = x: if builtins.isList x then builtins.concatMap flatten x else [ x ];
  remove = e: builtins.filter (x: x != e);
  last = list: elemAt list (length list - 1);
  init = list: take (length list - 1) list;
  take = n: sublist 0 n;
  drop = n: list: sublist n (length list) list;
  sublist =
    start: count: list:
    let
      len = length list;
    in
    genList (n: elemAt list (start + n)) (
      if start >= len then
        0
      else if start + count > len then
        len - start
      else
        count
    );
  reverseList =
    list:
    let
      len = length list;
    in
    genList (n: elemAt list (len - n - 1)) len;
  unique = builtins.foldl' (acc: e: if builtins.elem e acc then acc else acc ++ [ e ]) [ ];
  subtractLists = excluded: builtins.filter (x: !(builtins.elem x excluded));
  intersectLists = wanted: builtins.filter (x: builtins.elem x wanted);
  findFirst =
    predicate: default: list:
    let
      found = builtins.filter predicate list;
    in
    if found == [ ] then default else builtins.head found;
  count = predicate: builtins.foldl' (n: x: if predicate x then n + 1 else n) 0;
  zipListsWith =
    f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  sortOn = f: builtins.sort (a: b: f a < f b);
  naturalSort = builtins.sort builtins.lessThan;
}
