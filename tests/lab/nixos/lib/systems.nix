# What a package asks of a platform.
{ lib }:
{
  flakeExposed = [ "x86_64-linux" "aarch64-linux" ];
  elaborate =
    arg:
    let
      system = if builtins.isString arg then arg else arg.system;
      parts = builtins.match "([^-]+)-([^-]+)" system;
      arch = builtins.elemAt parts 0;
      kernel = builtins.elemAt parts 1;
      platform = {
        inherit system;
        config = "${arch}-unknown-${kernel}-gnu";
        linuxArch = if arch == "aarch64" then "arm64" else arch;
        parsed = {
          cpu = { name = arch; bits = 64; family = if arch == "aarch64" then "arm" else "x86"; };
          kernel.name = kernel;
        };
        gcc = { };
        isLinux = kernel == "linux";
        isDarwin = kernel == "darwin";
        isUnix = true;
        isWindows = false;
        isCygwin = false;
        isFreeBSD = false;
        isx86_64 = arch == "x86_64";
        isx86 = arch == "x86_64";
        isAarch64 = arch == "aarch64";
        isAarch32 = false;
        isAarch = arch == "aarch64";
        isRiscV = false;
        is64bit = true;
        is32bit = false;
        isGnu = kernel == "linux";
        isMusl = false;
        isStatic = false;
        isLittleEndian = true;
        isBigEndian = false;
        extensions = {
          sharedLibrary = ".so";
          staticLibrary = ".a";
          executable = "";
        };
        canExecute = other: other.system == system;
        emulatorAvailable = _: false;
      };
    in
    if parts == null then
      throw "'${system}' is not a system"
    else
      platform // lib.optionalAttrs (builtins.isAttrs arg) (builtins.removeAttrs arg [ "system" ]);
}
