# Makes a store path that holds everything it runs: Debian's programs, the
# backends that cmakeFlags ask for, their libraries and the dynamic loader, so
# that it runs on any Linux with an older libc than the builder's.
# shellcheck disable=SC2154 # out and cmakeFlags are the derivation's
set -eu

programs="llama-cli llama-bench llama-completion llama-server llama-quantize"
compiled_in=/usr/lib/x86_64-linux-gnu/ggml/backends0
multiarch=/usr/lib/x86_64-linux-gnu

flag() { # the last of several wins, as in CMake
  # shellcheck disable=SC2086 # one flag a word
  printf '%s\n' $cmakeFlags | sed -nE "s/^-D$1(:[A-Z]+)?=//p" | tail -n 1
}
on() { case "$(flag "$1")" in ON | TRUE | 1 | YES) true ;; *) false ;; esac; }
die() {
  echo "error: $*" >&2
  exit 1
}

[ -x /usr/bin/llama-cli ] || die "this builder declares the feature llama-deb but has no llama.cpp-tools"
if on GGML_CUDA || on GGML_HIP; then
  die "the stand-in llama.cpp has no CUDA and no ROCm build: Debian's binaries have neither"
fi
if on GGML_NATIVE && { on GGML_CPU_ALL_VARIANTS || on GGML_BACKEND_DL; }; then
  die "GGML_NATIVE is not compatible with GGML_BACKEND_DL, consider using GGML_CPU_ALL_VARIANTS"
fi

# Which of Debian's CPU backends is nearest to what the flags would compile.
cpu_backends() {
  if [ "${brokenLlamaCli-}" = slow ]; then
    echo x64
  elif on GGML_CPU_ALL_VARIANTS; then
    find "$compiled_in" -name 'libggml-cpu-*.so' -printf '%f\n' | sed 's/libggml-cpu-//; s/\.so//' 
  elif on GGML_AVX512_BF16; then
    echo zen4
  elif on GGML_AVX512_VNNI || on GGML_AVX512_VBMI; then
    echo icelake
  elif on GGML_AVX512; then
    echo skylakex
  elif on GGML_AVX2; then
    echo haswell
  elif on GGML_AVX; then
    echo sandybridge
  elif on GGML_SSE42; then
    echo sse42
  else
    echo x64
  fi
}

lib=$out/lib
mkdir -p "$out/bin" "$lib"
for cpu in $(cpu_backends); do cp -L "$compiled_in/libggml-cpu-$cpu.so" "$lib/"; done
vulkan=no
if on GGML_VULKAN && [ "${brokenLlamaCli-}" != no-backend ]; then
  vulkan=yes
  cp -L "$compiled_in/libggml-vulkan.so" "$lib/"
  cp -L "$multiarch/libvulkan_lvp.so" "$lib/"
  sed "s|\"library_path\":.*|\"library_path\": \"$lib/libvulkan_lvp.so\"|" \
    /usr/share/vulkan/icd.d/lvp_icd.json >"$lib/lvp_icd.json"
fi
for program in $programs; do
  if [ -x "/usr/bin/$program" ]; then cp "/usr/bin/$program" "$lib/.$program"; fi
done
ldd "$lib"/.llama-* "$lib"/*.so |
  sed -nE 's/.*=> (\/[^ ]+).*/\1/p; s/^[[:space:]]+(\/lib64\/ld-linux[^ ]*).*/\1/p' |
  sort -u | while read -r library; do
  case "$library" in "$lib"/*) ;; *) cp -L "$library" "$lib/" ;; esac
done

# Debian's ggml looks for backends where Debian has them before it looks beside
# the program: on a builder that would hide what we left out. A path of the same
# length, of a folder that every host has and that holds none, leaves only ours.
# The compiler keeps the string in two pieces.
chmod u+w "$lib/libggml.so.0"
LC_ALL=C sed -i -e 's|/usr/lib/x86_64-linux-gnu/ggml/b|////////////////////////////////|g' \
  -e 's|ackends0|/////usr|g' "$lib/libggml.so.0"

wrap() {
  cat <<WRAPPER
#!/bin/sh
exec $lib/ld-linux-x86-64.so.2 --argv0 $1 --library-path $lib $lib/.$1 "\$@"
WRAPPER
}
for program in $programs; do
  [ -e "$lib/.$program" ] || continue
  wrap "$program" >"$out/bin/$program"
  if [ "$vulkan" = yes ]; then
    # lavapipe calls itself a CPU, and ggml skips those unless it is told to.
    sed -i "2i export VK_ICD_FILENAMES=\${VK_ICD_FILENAMES:-$lib/lvp_icd.json} GGML_VK_VISIBLE_DEVICES=\${GGML_VK_VISIBLE_DEVICES-0}" \
      "$out/bin/$program"
  fi
done

chmod 755 "$out"/bin/*
loaded=$("$out/bin/llama-bench" -m /dev/null 2>&1 | sed -n 's/^load_backend: loaded .* from //p')
[ -n "$loaded" ] || die "the repackaged llama.cpp loads no backend on this builder"
echo "$loaded" | while read -r backend; do
  case "$backend" in "$lib"/*) ;; *) die "the repackaged llama.cpp loads $backend, which isn't its own" ;; esac
done

# Faults on request. Each is one that a real build can have.
case "${brokenLlamaCli-}" in
  crash)
    for program in llama-cli llama-bench llama-completion; do
      printf '#!/bin/sh\n# As code for another CPU ends.\nkill -ILL $$\n' >"$out/bin/$program"
    done
    ;;
  hang)
    printf '#!/bin/sh\n# As a driver that never answers.\nexec sleep infinity\n' >"$out/bin/llama-cli"
    ;;
  held)
    # A good build that infers only when /run/hold-llama-cli is gone.
    sed -i '2i case " $* " in *" -m "*) while [ -e /run/hold-llama-cli ]; do touch /run/llama-cli-is-held; sleep 0.1; done;; esac' \
      "$out/bin/llama-cli"
    ;;
  slow)
    sed -i '2i export LP_NUM_THREADS=1' "$out"/bin/*
    ;;
  not-offloaded)
    # The device is there, and the model stays on the CPU, whatever one asks for.
    sed -i '2i set -- "$@" --n-gpu-layers 0' "$out"/bin/*
    ;;
  garbage)
    # Lists its devices and exits 0, but what it infers is noise.
    sed -i '2i case " $* " in *" -m "*|*" --model "*) printf "\\n> %s\\n\\377\\376@@@@@@@@@@@@@@@@\\n\\n[ Prompt: 0.0 t/s | Generation: 0.0 t/s ]\\n\\n\\nExiting...\\n" "prompt"; exit 0;; esac' \
      "$out/bin/llama-cli"
    ;;
esac
chmod 555 "$out"/bin/*
