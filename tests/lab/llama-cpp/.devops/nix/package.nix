# The arguments, names and cmakeFlags of upstream's package of 2026; what it
# installs is Debian's build, taken from the builder (see ../../README.md) by the
# script that the stand-in for nixpkgs has for its own llama-cpp as well.
{
  lib,
  glibc,
  config,
  stdenv,
  stdenvNoCC,
  runCommand,
  path,
  cmake,
  ninja,
  pkg-config,
  git,
  mpi,
  blas,
  cudaPackages,
  autoAddDriverRunpath,
  darwin,
  rocmPackages,
  vulkan-headers,
  vulkan-loader,
  openssl,
  shaderc,
  spirv-headers,
  nodejs,
  importNpmLock,
  useBlas ?
    builtins.all (x: !x) [
      useCuda
      useMetalKit
      useRocm
      useVulkan
    ]
    && blas.meta.available,
  useCuda ? config.cudaSupport,
  useMetalKit ? stdenv.hostPlatform.isAarch64 && stdenv.hostPlatform.isDarwin,
  useMpi ? false,
  useRocm ? config.rocmSupport,
  rocmGpuTargets ? builtins.concatStringsSep ";" rocmPackages.clr.gpuTargets,
  useVulkan ? false,
  useRpc ? false,
  llamaVersion ? "0.0.0",
  effectiveStdenv ? if useCuda then cudaPackages.backendStdenv else stdenv,
  enableStatic ? effectiveStdenv.hostPlatform.isStatic,
  precompileMetalShaders ? false,
  useWebUi ? true,
  # The stand-in's own: null or one of the kinds below.
  # A machine sets it with nixpkgs.config.brokenLlamaCli.
  brokenLlamaCli ? config.brokenLlamaCli or null,
}:
let
  inherit (lib) cmakeBool cmakeFeature optional optionals;
  accelerators =
    optional useBlas "BLAS"
    ++ optional useCuda "CUDA"
    ++ optional useMetalKit "MetalKit"
    ++ optional useMpi "MPI"
    ++ optional useRocm "ROCm"
    ++ optional useVulkan "Vulkan";
  suffix = lib.concatMapStrings (name: "-${lib.toLower name}") accelerators;
  kinds = [ "crash" "garbage" "hang" "held" "no-backend" "not-offloaded" "slow" ];
in
assert lib.assertMsg (brokenLlamaCli == null || builtins.elem brokenLlamaCli kinds)
  "brokenLlamaCli: '${toString brokenLlamaCli}' is none of ${toString kinds}";
effectiveStdenv.mkDerivation (finalAttrs: {
  pname = "llama-cpp${suffix}";
  version = llamaVersion;
  src = lib.cleanSourceWith {
    filter = name: _type: !(lib.hasSuffix ".nix" name || lib.hasSuffix ".md" name || lib.hasPrefix "." (baseNameOf name));
    src = lib.cleanSource ../../.;
  };

  nativeBuildInputs = optionals useCuda [ cudaPackages.cuda_nvcc autoAddDriverRunpath ];
  buildInputs =
    optionals useCuda [ cudaPackages.cuda_cudart cudaPackages.cccl cudaPackages.libcublas ]
    ++ optionals useMpi [ mpi ]
    ++ optionals useRocm [ rocmPackages.clr rocmPackages.hipblas rocmPackages.rocblas ]
    ++ [ openssl ];

  # Only a builder with Debian's llama.cpp can take it from there.
  requiredSystemFeatures = [ "llama-deb" ] ++ optional useCuda "cuda" ++ optional useRocm "rocm";

  cmakeFlags =
    [
      (cmakeBool "LLAMA_BUILD_SERVER" true)
      (cmakeBool "LLAMA_BUILD_WEBUI" useWebUi)
      (cmakeBool "BUILD_SHARED_LIBS" (!enableStatic))
      (cmakeBool "CMAKE_SKIP_BUILD_RPATH" true)
      (cmakeBool "GGML_NATIVE" false)
      (cmakeBool "GGML_BLAS" useBlas)
      (cmakeBool "GGML_CUDA" useCuda)
      (cmakeBool "GGML_HIP" useRocm)
      (cmakeBool "GGML_METAL" useMetalKit)
      (cmakeBool "GGML_VULKAN" useVulkan)
      (cmakeBool "GGML_STATIC" enableStatic)
      (cmakeBool "GGML_RPC" useRpc)
    ]
    ++ optionals useCuda [
      (cmakeFeature "CMAKE_CUDA_ARCHITECTURES" (
        lib.concatMapStringsSep ";" cudaPackages.flags.dropDot cudaPackages.flags.cudaCapabilities
      ))
    ]
    ++ optionals useRocm [
      (cmakeFeature "CMAKE_HIP_COMPILER" "${rocmPackages.llvm.clang}/bin/clang")
      (cmakeFeature "CMAKE_HIP_ARCHITECTURES" rocmGpuTargets)
    ];

  env = lib.optionalAttrs useRocm {
    ROCM_PATH = "${rocmPackages.clr}";
    HIP_DEVICE_LIB_PATH = "${rocmPackages.rocm-device-libs}/amdgcn/bitcode";
  };

  inherit brokenLlamaCli;
  dontConfigure = true;
  dontBuild = true;
  dontFixup = true; # the result is closed already
  installPhase = ''
    runHook preInstall
    bash ${path + "/pkgs/llama-cpp/repackage.sh"}
    runHook postInstall
  '';

  meta = {
    badPlatforms = optionals useCuda lib.platforms.darwin;
    broken = useMetalKit && !effectiveStdenv.hostPlatform.isDarwin;
    description = "Inference of LLaMA model in pure C/C++ (stand-in)";
    homepage = "https://github.com/ggml-org/llama.cpp/";
    license = lib.licenses.mit;
    mainProgram = "llama-cli";
    maintainers = with lib.maintainers; [ philiptaron SomeoneSerge ];
    platforms = lib.platforms.all;
  };
})
