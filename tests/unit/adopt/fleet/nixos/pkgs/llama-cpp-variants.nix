# llama.cpp, built for each machine.
final: prev: {
  llama-cpp-cuda = prev.llama-cpp.override { cudaSupport = true; };
  llama-cpp-avx512 = prev.llama-cpp.overrideAttrs (old: {
    cmakeFlags = old.cmakeFlags ++ [ "-DGGML_AVX512=ON" ];
  });
}
