# The packages that llama.cpp's package.nix takes as arguments.
#
# A thin one is an empty derivation: its tools and libraries are the builder's
# own. Where it names a probe, its build fails on a builder that lacks it. An
# absent one instantiates and never builds.
{ lib, stdenv, config }:
let
  package =
    name: version: attrs:
    stdenv.mkDerivation (
      {
        pname = name;
        inherit version;
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
      // attrs
    );
  thin =
    name:
    {
      version ? "standin",
      probe ? "true",
      hook ? "",
      meta ? { },
    }:
    package name version {
      inherit hook meta;
      buildCommand = ''
        if ! ( ${probe} ) >/dev/null 2>&1; then
          echo "error: ${name} is a stand-in that takes its files from the builder, and this builder has none (${probe})" >&2
          exit 1
        fi
        mkdir -p $out/nix-support
        printf '%s' "$hook" >$out/nix-support/setup-hook
      '';
    };
  tool = name: command: thin name { probe = "command -v ${command}"; };
  absent =
    name:
    {
      version ? "standin",
      meta ? { },
      attrs ? { },
    }:
    package name version (
      {
        inherit meta;
        buildCommand = ''
          echo "error: ${name} is a stand-in for evaluation: this test flake has no ${name}, so what needs it cannot be built from it (tests/lab/nixos/README.md)" >&2
          exit 1
        '';
      }
      // attrs
    );
  many = names: lib.genAttrs names (name: absent name { });

  cudaLicence.license = lib.licenses.nvidiaCudaRedist;
  cuda = name: absent name { version = "13.0"; meta = cudaLicence; };
  dropDot = lib.replaceStrings [ "." ] [ "" ];
  cudaCapabilities = config.cudaCapabilities or [ "7.5" "8.0" "8.6" "8.9" "9.0" "10.0" "10.3" "12.0" "12.1" ];
in
{
  cmake = thin "cmake" {
    probe = "command -v cmake";
    hook = ''
      configureCommand=cmakeConfigure
      cmakeConfigure() {
        mkdir -p build
        cd build
        # shellcheck disable=SC2086
        cmake .. -G "''${cmakeGenerator:-Unix Makefiles}" \
          -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_BUILD_TYPE="''${cmakeBuildType:-Release}" \
          -DCMAKE_INSTALL_BINDIR="$prefix/bin" -DCMAKE_INSTALL_LIBDIR="$prefix/lib" \
          -DCMAKE_INSTALL_INCLUDEDIR="$prefix/include" -DCMAKE_INSTALL_RPATH="$prefix/lib" \
          -DCMAKE_BUILD_RPATH="$prefix/lib" ''${cmakeFlags-}
      }
      buildCommandHook=cmakeBuild
      cmakeBuild() { cmake --build . -j "$NIX_BUILD_CORES"; }
      installCommandHook=cmakeInstall
      cmakeInstall() { cmake --install .; }
    '';
  };
  ninja = thin "ninja" {
    probe = "command -v ninja";
    hook = ''
      cmakeGenerator=Ninja
    '';
  };
  git = tool "git" "git";
  gitMinimal = tool "git" "git";
  patchelf = tool "patchelf" "patchelf";
  jq = tool "jq" "jq";

  # Optional in llama.cpp's build: found on the builder or left out.
  pkg-config = thin "pkg-config" { };
  curl = thin "curl" { };
  openssl = thin "openssl" { };
  glibc = thin "glibc" { } // { static = thin "glibc-static" { }; };
  # llama.cpp dropped its MPI backend in 2024: useMpi adds an input, nothing else.
  mpi = lib.makeOverridable ({ cudaSupport ? config.cudaSupport }: thin "openmpi${lib.optionalString cudaSupport "-cuda"}" { }) { };

  blas = thin "blas" { probe = "ls /usr/lib/*/libblas.so /usr/lib/*/libopenblas.so | grep -q ."; meta.available = true; };
  vulkan-headers = thin "vulkan-headers" { probe = "test -e /usr/include/vulkan/vulkan.h"; };
  vulkan-loader = thin "vulkan-loader" { probe = "ls /usr/lib/*/libvulkan.so | grep -q ."; };
  shaderc = tool "shaderc" "glslc";
  spirv-headers = thin "spirv-headers" { probe = "test -d /usr/include/spirv"; };

  python3 = absent "python3" { } // {
    pkgs = many [ "numpy" "tqdm" "sentencepiece" "pyyaml" "pytestCheckHook" "requests" "poetry-core" ] // {
      buildPythonPackage = attrs: absent (attrs.pname or attrs.name) { };
    };
  };
  nodejs = absent "nodejs" { };
  importNpmLock = {
    linkNodeModulesHook = absent "link-node-modules-hook" { };
    buildNodeModules = _: absent "npm-deps" { };
  };
  darwin.apple_sdk.frameworks = many [ "Accelerate" "CoreVideo" "CoreGraphics" "MetalKit" ];

  autoAddDriverRunpath = thin "auto-add-driver-runpath" { };
  cudaPackages =
    lib.genAttrs [ "cuda_nvcc" "cuda_cudart" "cccl" "cuda_cccl" "libcublas" "cudatoolkit" "nccl" ] cuda
    // {
      backendStdenv = stdenv;
      cudaMajorMinorVersion = "13.0";
      flags = {
        inherit cudaCapabilities dropDot;
        cmakeCudaArchitecturesString = lib.concatMapStringsSep ";" dropDot cudaCapabilities;
      };
    };
  rocmPackages = many [ "hipblas" "rocblas" "rocm-device-libs" "rocm-runtime" ] // {
    clr = absent "clr" { attrs.passthru.gpuTargets = [ "gfx906" "gfx908" "gfx90a" "gfx942" "gfx1030" "gfx1100" "gfx1101" "gfx1102" "gfx1151" "gfx1200" "gfx1201" ]; };
    llvm.clang = absent "rocm-clang" { };
  };

  # A kernel to change: NixOS compares it to see whether a reboot is needed.
  linuxPackages = { kernel = { version = "6.12.30"; name = "linux-6.12.30"; }; };
  linuxPackages_latest = { kernel = { version = "6.15.4"; name = "linux-6.15.4"; }; };
}
