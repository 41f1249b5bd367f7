{ lib }:
rec {
  licenses =
    lib.mapAttrs (name: license: { shortName = name; licenseType = "simple"; free = true; redistributable = license.free or true; deprecated = false; } // license)
      {
        mit = { spdxId = "MIT"; fullName = "MIT License"; };
        asl20 = { spdxId = "Apache-2.0"; fullName = "Apache License 2.0"; };
        bsd3 = { spdxId = "BSD-3-Clause"; fullName = "BSD 3-clause License"; };
        gpl3Only = { spdxId = "GPL-3.0-only"; fullName = "GNU General Public License v3.0 only"; };
        lgpl21Plus = { spdxId = "LGPL-2.1-or-later"; fullName = "GNU Lesser General Public License v2.1 or later"; };
        unfree = { fullName = "Unfree"; free = false; };
        unfreeRedistributable = { fullName = "Unfree redistributable"; free = false; redistributable = true; };
        nvidiaCuda = {
          shortName = "CUDA EULA";
          fullName = "CUDA Toolkit End User License Agreement (EULA)";
          url = "https://docs.nvidia.com/cuda/eula/index.html#cuda-toolkit-supplement-license-agreement";
          free = false;
        };
        nvidiaCudaRedist = licenses.nvidiaCuda // { redistributable = true; };
      };

  platforms = rec {
    linux = [ "x86_64-linux" "aarch64-linux" ];
    darwin = [ "x86_64-darwin" "aarch64-darwin" ];
    unix = linux ++ darwin;
    all = unix;
    x86_64 = [ "x86_64-linux" "x86_64-darwin" ];
    aarch64 = [ "aarch64-linux" "aarch64-darwin" ];
  };
  # Any name: `with lib.maintainers; [ … ]` reads them by name only.
  maintainers = lib.genAttrs [ "philiptaron" "SomeoneSerge" ] (name: { inherit name; github = name; });
  teams = lib.genAttrs [ "cuda" "rocm" ] (name: { shortName = name; members = [ ]; });

  getExe =
    package:
    getExe' package (
      package.meta.mainProgram or (lib.warn "getExe: Package ${package.name} does not have the meta.mainProgram attribute." (lib.getName package))
    );
  getExe' = package: name: "${lib.getBin package}/bin/${name}";
  addMetaAttrs =
    attrs: package:
    if package ? overrideAttrs then
      package // { meta = package.meta or { } // attrs; }
    else
      throw "addMetaAttrs: not a package";
  # Of two packages with one file, the lower number's is linked.
  setPrio = priority: addMetaAttrs { inherit priority; };
  hiPrio = setPrio (-10);
  lowPrio = setPrio 10;
  meetsPlatform =
    platform: meta:
    builtins.elem platform.system (meta.platforms or platforms.all)
    && !(builtins.elem platform.system (meta.badPlatforms or [ ]));
  availableOn = platform: package: meetsPlatform platform (package.meta or { });
}
