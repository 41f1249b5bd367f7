# llama.cpp compiled from its real source, through upstream's own package.nix.
#
# `source` is the tree that tests/lab/llama_source.py fetches. Only what the
# lab's builders lack is switched off: npm for the web interface, BLAS, and the
# targets that nobody here runs.
{
  pkgs,
  source,
  cmakeFlags ? [ ],
}:
let
  inherit (pkgs) lib;
  scope = pkgs.callPackage "${toString source}/.devops/nix/scope.nix" { };
  package = scope.llama-cpp.override {
    useBlas = false;
    useWebUi = false;
  };
in
package.overrideAttrs (old: {
  # Upstream builds it even where useWebUi is false: it is an attribute of the
  # derivation, not only of the phase that copies it.
  webui = null;
  requiredSystemFeatures = (old.requiredSystemFeatures or [ ]) ++ [ "big-parallel" ];
  cmakeFlags =
    old.cmakeFlags
    ++ map (name: lib.cmakeBool name false) [
      "LLAMA_BUILD_TESTS"
      "LLAMA_BUILD_EXAMPLES"
      "LLAMA_BUILD_APP"
      "LLAMA_BUILD_UI"
      "LLAMA_USE_PREBUILT_UI"
      "LLAMA_OPENSSL"
    ]
    ++ cmakeFlags;
})
