#!/bin/sh
# pre-switch-check.sh TOPLEVEL ACTION: NixOS's config.system.preSwitchChecksScript, with
# each check in a file of its own.
for check in "$1"/pre-switch-checks/*; do
  [ -x "$check" ] || continue
  "$check" "$1" "$2" >&2 || {
    echo "Pre-switch check '${check##*/}' failed" >&2
    exit 1
  }
done
