# The phases of nixpkgs' stdenv, on the builder's own tools.
set -eu -o pipefail
shopt -s nullglob

export TERM=dumb HOME=/homeless-shelter
export NIX_BUILD_CORES="${NIX_BUILD_CORES:-1}"
if [ "$NIX_BUILD_CORES" = 0 ]; then NIX_BUILD_CORES=$(nproc); fi
prefix="${prefix:-$out}"

runHook() {
  local body="${!1-}"
  if [ -n "$body" ]; then
    eval "$body"
  elif declare -F "$1" >/dev/null; then
    "$1"
  fi
}

# A phase is a variable of its name, else a function of its name.
runPhase() {
  local body="${!1-}"
  echo "Running phase: $1"
  if [ -n "$body" ]; then eval "$body"; else "$1"; fi
}

unpackPhase() {
  runHook preUnpack
  if [ -n "${src-}" ]; then
    if [ -d "$src" ]; then
      cp -r --no-preserve=mode,ownership "$src" source
      # cp leaves out what makes a script a script.
      (cd "$src" && find . -type f -perm -u+x -print0) | (cd source && xargs -0 -r chmod u+x)
      sourceRoot="${sourceRoot:-source}"
    else
      mkdir unpacked
      tar -xf "$src" -C unpacked
      sourceRoot="${sourceRoot:-$(echo unpacked/*)}"
    fi
  fi
  cd "${sourceRoot:-.}"
  runHook postUnpack
}

patchPhase() {
  local file
  runHook prePatch
  for file in ${patches-}; do patch -p1 <"$file"; done
  runHook postPatch
}

configurePhase() {
  runHook preConfigure
  if [ -n "${configureCommand-}" ] && [ -z "${dontUseCmakeConfigure-}" ]; then
    "$configureCommand"
  elif [ -x ./configure ]; then
    # shellcheck disable=SC2086
    ./configure --prefix="$prefix" ${configureFlags-}
  fi
  runHook postConfigure
}

buildPhase() {
  runHook preBuild
  if [ -n "${buildCommandHook-}" ]; then
    "$buildCommandHook"
  elif [ -e Makefile ] || [ -e makefile ]; then
    # shellcheck disable=SC2086
    make -j"$NIX_BUILD_CORES" ${makeFlags-} ${buildFlags-}
  fi
  runHook postBuild
}

checkPhase() {
  runHook preCheck
  runHook postCheck
}

installPhase() {
  runHook preInstall
  if [ -n "${installCommandHook-}" ]; then
    "$installCommandHook"
  elif [ -e Makefile ]; then
    make install PREFIX="$prefix" prefix="$prefix"
  fi
  runHook postInstall
}

fixupPhase() {
  local file
  runHook preFixup
  if [ -z "${dontStrip-}" ] && command -v strip >/dev/null; then
    find "$prefix" -type f \( -perm -u+x -o -name '*.so*' -o -name '*.a' \) -print0 |
      xargs -0 -r strip -S 2>/dev/null || true
  fi
  if [ -d "$prefix/bin" ]; then bringHostLibraries; fi
  runHook postFixup
}

is_elf() { [ -f "$1" ] && [ ! -L "$1" ] && [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]; }

# There is no libc in this package set: programs are linked with the builder's.
# A store path must run wherever it is copied, so it takes along the libraries
# and the loader that it was linked with. The loader lies beside the programs,
# for /proc/self/exe names it, and ggml looks for its backends there.
bringHostLibraries() {
  local program name loader programs=()
  for program in "$prefix"/bin/*; do
    if is_elf "$program" && ldd "$program" >/dev/null 2>&1; then
      case "$program" in *.so) ;; *) programs+=("$program") ;; esac
    fi
  done
  [ ${#programs[@]} -gt 0 ] || return 0
  mkdir -p "$prefix/host-lib"
  { ldd "${programs[@]}" "$prefix"/lib/*.so* "$prefix"/bin/*.so 2>/dev/null || true; } |
    sed -nE 's/.*=> (\/[^ ]+).*/\1/p; s/^[[:space:]]+(\/lib[^ ]*\/ld-linux[^ ]*).*/\1/p' |
    sort -u | while read -r library; do
    case "$library" in "$NIX_STORE"/*) ;; *) cp -L "$library" "$prefix/host-lib/" ;; esac
  done
  loader=$(echo "$prefix"/host-lib/ld-linux*)
  mv "$loader" "$prefix/bin/.loader"
  ln -s ../bin/.loader "$loader"
  for program in "${programs[@]}"; do
    name=${program##*/}
    mv "$program" "$prefix/bin/.$name-unwrapped"
    printf '#!/bin/sh\nexec %s --argv0 %s --library-path %s %s "$@"\n' \
      "$prefix/bin/.loader" "$name" "$prefix/lib:$prefix/host-lib" "$prefix/bin/.$name-unwrapped" >"$program"
    chmod 555 "$program"
  done
}

# Hooks of the inputs: cmake and ninja bring their phases this way. An input's
# bin comes before the builder's own.
for input in ${hookInputs-}; do
  if [ -d "$input/bin" ]; then PATH="$input/bin:$PATH"; fi
  # shellcheck source=/dev/null
  if [ -e "$input/nix-support/setup-hook" ]; then . "$input/nix-support/setup-hook"; fi
done
export PATH

workspace=$(mktemp -d "${NIX_BUILD_TOP:-/tmp}/build.XXXXXX")
cd "$workspace"

if [ -n "${buildCommand-}" ]; then
  eval "$buildCommand"
else
  phases="${phases:-unpackPhase patchPhase configurePhase buildPhase checkPhase installPhase fixupPhase}"
  for phase in $phases; do
    case $phase in
      unpackPhase) [ -z "${dontUnpack-}" ] || continue ;;
      patchPhase) [ -z "${dontPatch-}" ] || continue ;;
      configurePhase) [ -z "${dontConfigure-}" ] || continue ;;
      buildPhase) [ -z "${dontBuild-}" ] || continue ;;
      checkPhase) [ -n "${doCheck-}" ] || continue ;;
      installPhase) [ -z "${dontInstall-}" ] || continue ;;
      fixupPhase) [ -z "${dontFixup-}" ] || continue ;;
    esac
    runPhase "$phase"
  done
fi
