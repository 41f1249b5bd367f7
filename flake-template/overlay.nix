# llama.cpp's variants as an overlay, built with the pkgs that it is applied to:
# their config, licences, overlays and compilers.
#
#   (pkgs.extend (import ./overlay.nix { inherit llama-cpp; })).llama-cpp-cuda
#   nixpkgs.overlays = [ (import ./overlay.nix { inherit inputs; }) ];
{
  inputs ? { },
  # A source tree of llama.cpp: a flake input or a path.
  llama-cpp ? inputs.llama-cpp,
  # GPUs to compile for, such as [ "8.9" ] and [ "gfx1100" ]; none leaves the
  # package's own list of every GPU there is, which takes several times as long.
  cudaCapabilities ? [ ],
  rocmGpuTargets ? [ ],
  # What llama-cpp-extreme-cpu may use, in ggml's words, such as [ "AVX2" "FMA" ].
  cpuFeatures ? [ ],
  # gcc's -march for llama-cpp-extreme-cpu. Never "native": one derivation would
  # be a different binary on every builder (llama.cpp#8734).
  march ? null,
}:
assert march != "native";
final: prev:
let
  inherit (prev) lib;
  platform = prev.stdenv.hostPlatform;

  scopeFile = "${llama-cpp}/.devops/nix/scope.nix";
  packageFile = "${llama-cpp}/.devops/nix/package.nix";

  # The arguments that a function takes, out of those at hand: upstream's have
  # come and gone, and an unexpected one fails the evaluation.
  accepted = function: builtins.intersectAttrs (lib.functionArgs function);
  acceptedByPackage = accepted (import packageFile);

  scope = final.callPackage scopeFile (accepted (import scopeFile) { llamaVersion = "0.0.0"; });

  # --- what every build says to CMake ---

  # Upstream's own flags leave a Nix build with SSE2 only: ggml turns
  # GGML_NATIVE off when SOURCE_DATE_EPOCH is set, and AVX with it (1af6945eb).
  # All CPU backends in one package, the best chosen at run time, is 4 to 8 times
  # as fast and runs everywhere.
  dispatchFlags = [
    (lib.cmakeBool "GGML_NATIVE" false)
  ]
  ++ lib.optionals (platform.isx86_64 || (platform.isAarch64 && platform.isLinux)) [
    (lib.cmakeBool "GGML_BACKEND_DL" true)
    (lib.cmakeBool "GGML_CPU_ALL_VARIANTS" true)
  ];

  # Every feature is said, on or off: what is left out has had different
  # defaults over time.
  featureFlags = [
    (lib.cmakeBool "GGML_NATIVE" false)
  ]
  ++ map (feature: lib.cmakeBool "GGML_${feature}" (lib.elem feature cpuFeatures)) (
    lib.unique (x86Features ++ cpuFeatures)
  );
  x86Features = [
    "SSE42"
    "AVX"
    "AVX2"
    "AVX_VNNI"
    "BMI2"
    "FMA"
    "F16C"
    "AVX512"
    "AVX512_VBMI"
    "AVX512_VNNI"
    "AVX512_BF16"
    "AMX_TILE"
    "AMX_INT8"
    "AMX_BF16"
  ];

  cudaFlags = lib.optional (cudaCapabilities != [ ]) (
    lib.cmakeFeature "CMAKE_CUDA_ARCHITECTURES" (
      lib.concatMapStringsSep ";" (lib.replaceStrings [ "." ] [ "" ]) cudaCapabilities
    )
  );

  # --- one build ---

  # `switches` are arguments of upstream's package.nix, or nixpkgs' names for
  # them, which its other packages say in `llama-cpp.override`.
  build = lib.makeOverridable (
    switches:
    let
      wanted = lib.mapAttrs' (name: lib.nameValuePair (upstreamNames.${name} or name)) switches;
      passed = acceptedByPackage wanted;
      leftOut = lib.attrNames (
        lib.filterAttrs (name: value: value != false && value != null) (
          removeAttrs wanted (lib.attrNames passed)
        )
      );
      package = scope.callPackage packageFile (acceptedByPackage olderUpstreams // passed);
    in
    lib.warnIf (leftOut != [ ])
      "llama-cpp: this upstream does not know ${lib.concatStringsSep ", " leftOut}: built without"
      (
        package.overrideAttrs (old: {
          cmakeFlags =
            (old.cmakeFlags or [ ]) ++ dispatchFlags ++ lib.optionals (wanted.useCuda or false) cudaFlags;
        })
      )
  );
  upstreamNames = {
    cudaSupport = "useCuda";
    rocmSupport = "useRocm";
    vulkanSupport = "useVulkan";
    metalSupport = "useMetalKit";
    blasSupport = "useBlas";
    rpcSupport = "useRpc";
  };

  cpu = {
    useCuda = false;
    useRocm = false;
    useVulkan = false;
  };
  cuda = cpu // {
    useCuda = true;
  };
  vulkan = cpu // {
    useVulkan = true;
  };
  rocm =
    cpu
    // {
      useRocm = true;
    }
    // lib.optionalAttrs (rocmGpuTargets != [ ]) {
      rocmGpuTargets = lib.concatStringsSep ";" rocmGpuTargets;
    };
  mpi.useMpi = true;
  cudaMpi.mpi = final.mpi.override (accepted final.mpi.override { cudaSupport = true; });

  # This machine's instruction set and no other. The later flags win in CMake.
  extreme =
    package:
    package.overrideAttrs (
      old:
      lib.optionalAttrs (cpuFeatures != [ ]) {
        cmakeFlags = lib.subtractLists dispatchFlags old.cmakeFlags ++ featureFlags;
      }
      // lib.optionalAttrs (march != null) {
        env = (old.env or { }) // {
          NIX_CFLAGS_COMPILE = "${toString (old.env.NIX_CFLAGS_COMPILE or "")} -march=${march}";
        };
        # The build runs programs that it compiled: only on a builder that can.
        requiredSystemFeatures = (old.requiredSystemFeatures or [ ]) ++ [ "gccarch-${march}" ];
      }
    );

  # --- what today's nixpkgs took away from older upstreams ---

  # package.nix says `env = [ ]` without ROCm before 760b4484e (2025-07-17), and
  # cudaPackages.*.dev and two names of that time before 8a98ba458 (2026-02-01).
  olderUpstreams = {
    stdenv = withEnvAsSet final.stdenv;
    cudaPackages = final.cudaPackages // {
      backendStdenv = withEnvAsSet final.cudaPackages.backendStdenv;
      autoAddOpenGLRunpathHook = final.autoAddDriverRunpath;
      cuda_cccl = withOutputs (final.cudaPackages.cccl or final.cudaPackages.cuda_cccl);
      cuda_cudart = withOutputs final.cudaPackages.cuda_cudart;
      libcublas = withOutputs final.cudaPackages.libcublas;
    };
  };
  withEnvAsSet =
    stdenv:
    stdenv
    // {
      mkDerivation =
        attributes:
        stdenv.mkDerivation (
          self:
          let
            given = if lib.isFunction attributes then attributes self else attributes;
          in
          given // lib.optionalAttrs (builtins.isList (given.env or { })) { env = { }; }
        );
    };
  withOutputs =
    package:
    package
    // {
      dev = package.dev or package;
      lib = package.lib or package;
      static = package.static or package;
    };
in
{
  # The whole scope of upstream (gguf-py, python-scripts, docker, …) around the
  # llama-cpp below; `.overrideScope` changes it further.
  llamaPackages = scope.overrideScope (_: _: { inherit (final) llama-cpp; });

  llama-cpp = build { };
  llama-cpp-cpu = build cpu;
  llama-cpp-extreme-cpu = extreme (build cpu);
  llama-cpp-vulkan = build vulkan;
  # Upstream removed the MPI backend in 2024-05 (#7395), where these only link
  # the library; RPC is its successor.
  llama-cpp-mpi-cpu = build (cpu // mpi);
  llama-cpp-rpc = build (cpu // { useRpc = true; });
}
// lib.optionalAttrs platform.isLinux {
  llama-cpp-cuda = build cuda;
  llama-cpp-mpi-cuda = build (cuda // mpi // cudaMpi);
}
// lib.optionalAttrs (platform.isLinux && platform.isx86_64) {
  llama-cpp-rocm = build rocm;
}
