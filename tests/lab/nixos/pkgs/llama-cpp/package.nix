# The arguments and cmakeFlags of nixpkgs' own llama-cpp of 2026, which are not
# upstream's; what it installs is Debian's build, as in ../../../llama-cpp.
{
  lib,
  config,
  stdenv,
  autoAddDriverRunpath,
  cudaSupport ? config.cudaSupport,
  cudaPackages ? { },
  rocmSupport ? config.rocmSupport,
  rocmPackages ? { },
  # A list here, a text upstream.
  rocmGpuTargets ? rocmPackages.clr.gpuTargets,
  cpuArchDynamicDispatch ? true,
  blasSupport ?
    builtins.all (x: !x) [
      cudaSupport
      metalSupport
      rocmSupport
      vulkanSupport
    ],
  metalSupport ? stdenv.hostPlatform.isDarwin && stdenv.hostPlatform.isAarch64,
  vulkanSupport ? false,
  rpcSupport ? false,
  openssl,
  # The stand-in's own: null or one of the kinds in ../../../llama-cpp/README.md.
  brokenLlamaCli ? config.brokenLlamaCli or null,
}:
let
  inherit (lib) cmakeBool cmakeFeature optional optionals;
  effectiveStdenv = if cudaSupport then cudaPackages.backendStdenv else stdenv;
in
effectiveStdenv.mkDerivation {
  pname = "llama-cpp";
  version = "9842";
  src = ./.;

  nativeBuildInputs = optionals cudaSupport [ cudaPackages.cuda_nvcc autoAddDriverRunpath ];
  buildInputs =
    optionals cudaSupport [ cudaPackages.cuda_cudart cudaPackages.cccl cudaPackages.libcublas ]
    ++ optionals rocmSupport [ rocmPackages.clr rocmPackages.hipblas rocmPackages.rocblas ]
    ++ [ openssl ];

  # Only a builder with Debian's llama.cpp can take it from there.
  requiredSystemFeatures = [ "llama-deb" ] ++ optional cudaSupport "cuda" ++ optional rocmSupport "rocm";

  cmakeFlags =
    [
      (cmakeBool "GGML_NATIVE" false)
      (cmakeBool "LLAMA_BUILD_SERVER" true)
      (cmakeBool "BUILD_SHARED_LIBS" true)
      (cmakeBool "GGML_BLAS" blasSupport)
      (cmakeBool "GGML_CUDA" cudaSupport)
      (cmakeBool "GGML_HIP" rocmSupport)
      (cmakeBool "GGML_METAL" metalSupport)
      (cmakeBool "GGML_RPC" rpcSupport)
      (cmakeBool "GGML_VULKAN" vulkanSupport)
    ]
    ++ optionals cpuArchDynamicDispatch [
      (cmakeBool "GGML_CPU_ALL_VARIANTS" true)
      (cmakeBool "GGML_BACKEND_DL" true)
    ]
    ++ optionals cudaSupport [
      (cmakeFeature "CMAKE_CUDA_ARCHITECTURES" cudaPackages.flags.cmakeCudaArchitecturesString)
    ]
    ++ optionals rocmSupport [
      (cmakeFeature "CMAKE_HIP_ARCHITECTURES" (builtins.concatStringsSep ";" rocmGpuTargets))
    ];

  inherit brokenLlamaCli;
  dontConfigure = true;
  dontBuild = true;
  dontFixup = true; # the result is closed already
  installPhase = ''
    runHook preInstall
    bash ./repackage.sh
    runHook postInstall
  '';

  meta = {
    badPlatforms = optionals cudaSupport lib.platforms.darwin;
    broken = metalSupport && !effectiveStdenv.hostPlatform.isDarwin;
    description = "Inference of Meta's LLaMA model (and others) in pure C/C++ (stand-in)";
    homepage = "https://github.com/ggml-org/llama.cpp";
    license = lib.licenses.mit;
    mainProgram = "llama-cli";
    platforms = lib.platforms.unix;
  };
}
