# llama.cpp's variants as an overlay, built with the pkgs that it is applied to:
# their config, licences, overlays and compilers.
#
#   (pkgs.extend (import ./overlay.nix { inherit llama-cpp; })).llama-cpp-cuda
#   nixpkgs.overlays = [ (import ./overlay.nix { inherit inputs; }) ];
{
  inputs ? { },
  # Whose package it is: "upstream", out of llama.cpp's own tree, or "nixpkgs",
  # the llama-cpp of the pkgs that this is applied to.
  source ? "upstream",
  # A source tree of llama.cpp: a flake input or a path. Not read for "nixpkgs".
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
  # Unfree licences that the user accepts for these packages and no others,
  # out of [ "cuda" ]. Without it the config of the pkgs decides.
  acceptedLicences ? [ ],
  # llama-server's web interface, which upstream builds with npm.
  useWebUi ? true,
}:
assert march != "native";
assert builtins.elem source [
  "upstream"
  "nixpkgs"
];
final: prev:
let
  inherit (prev) lib;
  platform = prev.stdenv.hostPlatform;

  scopeFile = "${llama-cpp}/.devops/nix/scope.nix";
  packageFile = "${llama-cpp}/.devops/nix/package.nix";

  # The arguments that a function takes, out of those at hand: they have come
  # and gone, and an unexpected one fails the evaluation.
  accepted = function: builtins.intersectAttrs (lib.functionArgs function);

  scope = final.callPackage scopeFile (accepted (import scopeFile) { llamaVersion = "0.0.0"; });

  # --- what every build says to CMake ---

  # Upstream's own flags leave a Nix build with SSE2 only: ggml turns
  # GGML_NATIVE off when SOURCE_DATE_EPOCH is set, and AVX with it (1af6945eb).
  # All CPU backends in one package, the best chosen at run time, is 2 to 8 times
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

  # CMake takes the last of several: the package's own list goes before.
  architectures =
    name: list:
    lib.optional (list != [ ]) (lib.cmakeFeature name (lib.concatStringsSep ";" list));
  cudaFlags = architectures "CMAKE_CUDA_ARCHITECTURES" (
    map (lib.replaceStrings [ "." ] [ "" ]) cudaCapabilities
  );
  rocmFlags = architectures "CMAKE_HIP_ARCHITECTURES" rocmGpuTargets;

  # --- one build ---

  # `switches` are arguments of upstream's package.nix, or nixpkgs' names for
  # them, which its other packages say in `llama-cpp.override`.
  build = lib.makeOverridable (
    switches:
    let
      wanted =
        lib.optionalAttrs (!useWebUi) { useWebUi = false; }
        // lib.mapAttrs' (name: lib.nameValuePair (upstreamNames.${name} or name)) switches;
      named = lib.mapAttrs' (name: lib.nameValuePair (origin.names.${name} or name)) wanted;
      passed = builtins.intersectAttrs origin.arguments named;
      leftOut = lib.attrNames (
        lib.filterAttrs (name: value: value != false && value != null) (
          removeAttrs named (lib.attrNames passed)
        )
      );
    in
    lib.throwIf (wanted.useCuda or false && cudaRefused) cudaRefusal (
      lib.warnIf (leftOut != [ ])
        "llama-cpp of ${source} does not know ${lib.concatStringsSep ", " leftOut}: built without"
        (
          (origin.package passed).overrideAttrs (
            old:
            {
              cmakeFlags =
                (old.cmakeFlags or [ ])
                # Only what isn't said: nixpkgs' own builds stay the ones in its cache.
                ++ lib.subtractLists (old.cmakeFlags or [ ]) dispatchFlags
                ++ lib.optionals (wanted.useCuda or false) cudaFlags
                ++ lib.optionals (wanted.useRocm or false) rocmFlags
                # Without the interface CMake would fetch a prebuilt one.
                ++ lib.optional (old ? webui && !wanted.useWebUi or true) (
                  lib.cmakeBool "LLAMA_USE_PREBUILT_UI" false
                );
            }
            # An attribute of the derivation, and as such built even where
            # upstream's useWebUi says that nothing needs it.
            // lib.optionalAttrs (old ? webui && !wanted.useWebUi or true) { webui = null; }
          )
        )
    )
  );

  # Where the package comes from: its arguments, what it calls our switches, and
  # how it is made with some of them.
  origin = origins.${source};
  origins.upstream = {
    arguments = lib.functionArgs (import packageFile);
    names = { };
    package =
      passed: scope.callPackage packageFile (accepted (import packageFile) olderUpstreams // passed);
  };
  origins.nixpkgs = {
    arguments = lib.functionArgs inNixpkgs.override;
    names = nixpkgsNames;
    package =
      passed:
      inNixpkgs.override (
        passed
        // lib.optionalAttrs (passed.cudaSupport or false && acceptsCuda) {
          inherit (licensed) cudaPackages;
        }
      );
  };
  inNixpkgs = prev.llama-cpp or (throw "this nixpkgs has no llama-cpp: take it from upstream");

  nixpkgsNames = {
    useCuda = "cudaSupport";
    useRocm = "rocmSupport";
    useVulkan = "vulkanSupport";
    useMetalKit = "metalSupport";
    useBlas = "blasSupport";
    useRpc = "rpcSupport";
  };
  upstreamNames = lib.mapAttrs' (theirs: ours: lib.nameValuePair ours theirs) nixpkgsNames;

  # --- licences ---

  # CUDA out of a second instance of the same nixpkgs, which allows CUDA's
  # licences beside what the user allows: the user's own pkgs stay as strict as
  # they were, and no other unfree package gets in.
  acceptsCuda = lib.elem "cuda" acceptedLicences;
  licensed = if acceptsCuda && cudaDenied then withCudaLicences else final;
  withCudaLicences = import final.path (
    {
      localSystem = final.stdenv.buildPlatform;
      inherit (final) overlays;
      config = final.config // {
        allowUnfreePredicate =
          package: usersPredicate package || lib.all isCudaLicence (lib.toList (package.meta.license or [ ]));
      };
    }
    // lib.optionalAttrs (platform != final.stdenv.buildPlatform) { crossSystem = platform; }
  );
  usersPredicate =
    let
      given = final.config.allowUnfreePredicate or null;
    in
    if lib.isFunction given then given else _: false;
  # A compound of licences says nothing about being free, and isn't one of these.
  isCudaLicence =
    licence:
    licence.licenseType or "simple" == "simple"
    && (licence.free or true || lib.elem (licence.shortName or "") cudaLicences);
  cudaLicences = [
    "CUDA EULA"
    "cuDNN EULA"
    "cuTENSOR EULA"
    "NVidia OptiX EULA"
  ];

  # Said before nixpkgs' own words, which name neither the licence's reader nor
  # our variable. `meta` is there for a refused package too.
  cudaRefused = cudaDenied && !acceptsCuda;
  cudaDenied =
    let
      inherit (final.cudaPackages.cuda_cudart) meta;
    in
    meta.unfree or false && !(meta.available or true);
  cudaRefusal =
    "the licence of CUDA (CUDA EULA) is not accepted: set orchestrate_accept_licences: [cuda] "
    + "for the whole fleet, or nixpkgs.config.allowUnfree for this host";

  # --- the variants ---

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
    # Older upstreams hand the targets to CMake under another name. In nixpkgs the
    # argument has been a text and a list.
    // lib.optionalAttrs (source == "upstream" && rocmGpuTargets != [ ]) {
      rocmGpuTargets = lib.concatStringsSep ";" rocmGpuTargets;
    };
  mpi.useMpi = true;
  cudaMpi.mpi = licensed.mpi.override (accepted licensed.mpi.override { cudaSupport = true; });
  rpc.useRpc = true;

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
        # The flag is for all that this build compiles, and a build runs some of it:
        # nixpkgs' package asks its new llama-server for completions. Of upstream's
        # only some versions do, so that the same holds for both: a builder that
        # says it can run such code, and an error before the build where none does.
        requiredSystemFeatures = (old.requiredSystemFeatures or [ ]) ++ [ "gccarch-${march}" ];
      }
    );

  # --- what today's nixpkgs took away from older upstreams ---

  # package.nix says `env = [ ]` without ROCm before 760b4484e (2025-07-17), and
  # cudaPackages.*.dev and two names of that time before 8a98ba458 (2026-02-01).
  olderUpstreams = {
    stdenv = withEnvAsSet final.stdenv;
    cudaPackages = licensed.cudaPackages // {
      backendStdenv = withEnvAsSet licensed.cudaPackages.backendStdenv;
      autoAddOpenGLRunpathHook = final.autoAddDriverRunpath;
      cuda_cccl = withOutputs (licensed.cudaPackages.cccl or licensed.cudaPackages.cuda_cccl);
      cuda_cudart = withOutputs licensed.cudaPackages.cuda_cudart;
      libcublas = withOutputs licensed.cudaPackages.libcublas;
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
  llama-cpp-rpc = build (cpu // rpc);
}
// lib.optionalAttrs platform.isLinux {
  llama-cpp-cuda = build cuda;
  llama-cpp-mpi-cuda = build (cuda // mpi // cudaMpi);
  llama-cpp-rpc-cuda = build (cuda // rpc);
}
// lib.optionalAttrs (platform.isLinux && platform.isx86_64) {
  llama-cpp-rocm = build rocm;
}
