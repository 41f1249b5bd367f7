# llama.cpp's CPU builds from one source, as far as llama-bench needs them.
#
#   baseline   as upstream's own flake makes it
#   dispatch   llama-cpp-cpu: all CPU backends, the best chosen at run time
#   extreme    llama-cpp-extreme-cpu: this processor's instruction set alone
#
# Only llama-bench and what it loads is compiled, the same in all three: the
# rest of llama.cpp would take most of the time and be measured by nothing.
{
  pkgs,
  source,
  cpuFeatures,
  march,
}:
let
  inherit (pkgs) lib;
  variants = pkgs.extend (
    import ../flake-template/overlay.nix {
      llama-cpp = source;
      useWebUi = false;
      inherit cpuFeatures march;
    }
  );
  upstream =
    (pkgs.callPackage "${toString source}/.devops/nix/scope.nix" { }).llama-cpp.override
      { useWebUi = false; };

  benchOnly =
    name: package:
    (package.override { useBlas = false; }).overrideAttrs (old: {
      pname = "llama-bench-${name}";
      webui = null;
      requiredSystemFeatures = (old.requiredSystemFeatures or [ ]) ++ [ "big-parallel" ];
      cmakeFlags =
        old.cmakeFlags
        ++ map (flag: lib.cmakeBool flag false) [
          "LLAMA_BUILD_TESTS"
          "LLAMA_BUILD_EXAMPLES"
          "LLAMA_BUILD_SERVER"
          "LLAMA_BUILD_APP"
          "LLAMA_USE_PREBUILT_UI"
          "LLAMA_OPENSSL"
        ];
      # As nixpkgs' stdenv has it; ggml takes it for a wish that no build depends
      # on the processor that compiles, and leaves AVX out (1af6945eb).
      SOURCE_DATE_EPOCH = "315532800";
      # The lab's compiler is Debian's own, without nixpkgs' wrapper that reads this.
      preConfigure = ''
        export CFLAGS="''${NIX_CFLAGS_COMPILE-}" CXXFLAGS="''${NIX_CFLAGS_COMPILE-}"
      '';
      buildPhase = ''
        cmake --build . --parallel "$NIX_BUILD_CORES" --target llama-bench
      '';
      # ggml looks for backends that it loads beside the program.
      installPhase = ''
        mkdir -p "$out/bin" "$out/lib"
        cp bin/llama-bench "$out/bin"
        cp -P bin/*.so* "$out/lib"
        find "$out/lib" -name 'libggml-cpu-*.so' -exec mv -t "$out/bin" {} +
      '';
      postInstall = "";
    });
in
{
  baseline = benchOnly "baseline" upstream;
  dispatch = benchOnly "dispatch" variants.llama-cpp-cpu;
  extreme = benchOnly "extreme" variants.llama-cpp-extreme-cpu;
}
