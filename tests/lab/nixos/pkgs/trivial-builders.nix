{ lib, stdenv }:
let
  # The builder's shell: the hosts have it at the same place.
  runtimeShell = "/bin/sh";

  runCommandWith =
    {
      name,
      derivationArgs ? { },
      ...
    }:
    buildCommand: stdenv.mkDerivation ({ inherit name buildCommand; } // derivationArgs);

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      meta ? { },
      derivationArgs ? { },
      ...
    }:
    stdenv.mkDerivation (
      {
        inherit name meta text destination;
        passAsFile = [ "text" ];
        preferLocalBuild = true;
        allowSubstitutes = false;
        mode = if executable then "555" else "444";
        buildCommand = ''
          mkdir -p "$(dirname "$out$destination")"
          cp "$textPath" "$out$destination"
          chmod "$mode" "$out$destination"
        '';
      }
      // derivationArgs
    );
in
rec {
  inherit runtimeShell runCommandWith writeTextFile;
  bash = lib.warn "the stand-in's bash is the host's /bin/bash" "/bin";

  runCommand =
    name: derivationArgs:
    runCommandWith { inherit name derivationArgs; };
  runCommandCC = runCommand;
  runCommandLocal =
    name: derivationArgs:
    runCommand name ({ preferLocalBuild = true; allowSubstitutes = false; } // derivationArgs);

  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir = path: text: writeTextFile { name = baseNameOf path; inherit text; destination = "/${path}"; };
  writeScript = name: text: writeTextFile { inherit name text; executable = true; };
  writeScriptBin =
    name: text:
    writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; meta.mainProgram = name; };
  writeShellScript = name: text: writeScript name "#!${runtimeShell}\n${text}";
  writeShellScriptBin = name: text: writeScriptBin name "#!${runtimeShell}\n${text}";
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      ...
    }:
    writeShellScriptBin name ''
      set -eu
      ${lib.optionalString (runtimeInputs != [ ]) ''export PATH="${lib.makeBinPath runtimeInputs}:$PATH"''}
      ${text}
    '';

  linkFarm =
    name: entries:
    runCommandLocal name { } (
      "mkdir -p $out\n"
      + lib.concatMapStrings (
        entry: ''
          mkdir -p "$out/$(dirname ${lib.escapeShellArg entry.name})"
          ln -s ${lib.escapeShellArg "${entry.path}"} "$out"/${lib.escapeShellArg entry.name}
        ''
      ) (if builtins.isAttrs entries then lib.mapAttrsToList (name: path: { inherit name path; }) entries else entries)
    );

  # Who has the better priority brings a file that two packages have; of equals
  # the first.
  buildEnv =
    {
      name,
      paths,
      pathsToLink ? [ "/" ],
      postBuild ? "",
      ...
    }:
    runCommandLocal name
      {
        paths = map (p: "${lib.getBin p}") (
          lib.sortOn (p: p.meta.priority or 5) (builtins.filter (p: p != null) paths)
        );
        inherit pathsToLink;
      }
      ''
        mkdir -p $out
        for package in $paths; do
          for part in $pathsToLink; do
            [ -d "$package$part" ] || continue
            (cd "$package" && find ".$part" ! -type d) | while read -r file; do
              file="''${file#./}"
              case "$file" in nix-support/*) continue ;; esac
              [ ! -e "$out/$file" ] && [ ! -L "$out/$file" ] || continue
              mkdir -p "$(dirname "$out/$file")"
              ln -s "$package/$file" "$out/$file"
            done
          done
        done
        ${postBuild}
      '';
  symlinkJoin =
    { name, paths, postBuild ? "", ... }:
    buildEnv { inherit name paths postBuild; };

  emptyFile = writeText "empty-file" "";
  emptyDirectory = runCommandLocal "empty-directory" { } "mkdir $out";
  hello = writeShellScriptBin "hello" "echo 'Hello, world!'";
}
