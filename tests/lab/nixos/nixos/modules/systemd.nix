# Services and timers as files of units; the host's systemd runs them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  list = mkOption { type = types.listOf types.str; default = [ ]; };
  value = types.oneOf [ types.bool types.int types.float types.str types.path types.package ];
  section = mkOption { type = types.attrsOf (types.either value (types.listOf value)); default = { }; };
  flag = default: mkOption { type = types.bool; inherit default; };
  script = mkOption { type = types.lines; default = ""; };

  common = {
    enable = flag true;
    description = mkOption { type = types.str; default = ""; };
    unitConfig = section;
    wantedBy = list;
    requiredBy = list;
    wants = list;
    requires = list;
    requisite = list;
    after = list;
    before = list;
    bindsTo = list;
    partOf = list;
    conflicts = list;
    aliases = list;
    restartTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; };
  };
  service =
    { name, config, ... }:
    {
      options = common // {
        environment = mkOption { type = types.attrsOf (types.nullOr value); default = { }; };
        path = mkOption { type = types.listOf (types.either types.package types.str); default = [ ]; };
        serviceConfig = section;
        script = script;
        scriptArgs = mkOption { type = types.str; default = ""; };
        preStart = script;
        postStart = script;
        preStop = script;
        postStop = script;
        reload = script;
        restartIfChanged = flag true;
        reloadIfChanged = flag false;
        stopIfChanged = flag true;
        reloadTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; };
        startAt = mkOption { type = types.either types.str (types.listOf types.str); default = [ ]; apply = lib.toList; };
      };
      config.serviceConfig =
        let
          run = kind: text: lib.mkIf (text != "") "${pkgs.writeShellScript "unit-script-${name}-${kind}" "set -e\n${text}"} ${if kind == "start" then config.scriptArgs else ""}";
        in
        {
          ExecStart = run "start" config.script;
          ExecStartPre = run "pre-start" config.preStart;
          ExecStartPost = run "post-start" config.postStart;
          ExecStop = run "pre-stop" config.preStop;
          ExecStopPost = run "post-stop" config.postStop;
          ExecReload = run "reload" config.reload;
        };
    };
  timer = { options = common // { timerConfig = section; }; };

  show = v: if builtins.isBool v then lib.boolToString v else toString v;
  lines = name: v: lib.concatMapStrings (x: "${name}=${show x}\n") (lib.toList v);
  render = name: attrs: "[${name}]\n" + lib.concatStrings (lib.mapAttrsToList lines attrs);
  filled = lib.filterAttrs (_: v: v != "" && v != [ ]);
  unitSection =
    unit:
    render "Unit" (
      filled {
        Description = unit.description;
        Wants = toString unit.wants;
        Requires = toString unit.requires;
        Requisite = toString unit.requisite;
        After = toString unit.after;
        Before = toString unit.before;
        BindsTo = toString unit.bindsTo;
        PartOf = toString unit.partOf;
        Conflicts = toString unit.conflicts;
        X-Restart-Triggers = map toString unit.restartTriggers;
      }
      // unit.unitConfig
    );
  behaviour =
    unit:
    filled {
      X-RestartIfChanged = lib.optionalString (!unit.restartIfChanged) "false";
      X-ReloadIfChanged = lib.optionalString unit.reloadIfChanged "true";
      X-StopIfChanged = lib.optionalString (!unit.stopIfChanged) "false";
    };
  environmentOf =
    unit:
    {
      PATH = lib.concatStringsSep ":" (
        lib.optional (unit.path != [ ]) (lib.makeBinPath unit.path)
        ++ [ "/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin" ]
      );
    }
    // unit.environment;
  serviceText =
    unit:
    unitSection unit
    + "\n[Service]\n"
    + lib.concatStrings (
      lib.mapAttrsToList (n: v: lib.optionalString (v != null) "Environment=${builtins.toJSON "${n}=${show v}"}\n") (environmentOf unit)
    )
    + lib.concatStrings (lib.mapAttrsToList lines (unit.serviceConfig // behaviour unit));
  timerText = unit: unitSection unit + "\n" + render "Timer" unit.timerConfig;

  unitFiles =
    suffix: text: units:
    lib.mapAttrsToList (
      name: unit:
      let
        fileName = "${name}.${suffix}";
      in
      {
        inherit (unit) wantedBy requiredBy aliases;
        inherit fileName;
        file = pkgs.writeTextDir fileName (text unit);
      }
    ) (lib.filterAttrs (_: unit: unit.enable) units);
  all = unitFiles "service" serviceText config.systemd.services ++ unitFiles "timer" timerText config.systemd.timers;
  link = unit: directory: ''
    mkdir -p $out/${directory}
    ln -s ../${unit.fileName} $out/${directory}/${unit.fileName}
  '';
in
{
  options.systemd = {
    services = mkOption { type = types.attrsOf (types.submodule service); default = { }; };
    timers = mkOption { type = types.attrsOf (types.submodule timer); default = { }; };
  };
  config = {
    systemd.timers = lib.mapAttrs (_: unit: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = unit.startAt;
    }) (lib.filterAttrs (_: unit: unit.enable && unit.startAt != [ ]) config.systemd.services);
    system.build.units = pkgs.runCommandLocal "system-units" { } (
      "mkdir -p $out\n"
      + lib.concatMapStrings (
        unit:
        "ln -s ${unit.file}/${unit.fileName} $out/${unit.fileName}\n"
        + lib.concatMapStrings (target: link unit "${target}.wants") unit.wantedBy
        + lib.concatMapStrings (target: link unit "${target}.requires") unit.requiredBy
        + lib.concatMapStrings (alias: "ln -s ${unit.fileName} $out/${alias}\n") unit.aliases
      ) all
    );
  };
}
