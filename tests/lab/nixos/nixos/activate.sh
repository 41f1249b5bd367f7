#!/bin/sh
# Puts this system's /etc in place, runs its snippets, and makes it current.
# Touches in /etc only what this system or the one before declares.
set -u
toplevel=@toplevel@
status=0

entries() {
  if [ -d "$1" ]; then (cd "$1/" && find . ! -type d | sed 's|^\./||'); fi
}

# Atomic: no moment without the link.
link() {
  ln -sfn "$1" "$2.new-nixos" && mv -Tf "$2.new-nixos" "$2"
}

install_etc() {
  old=$(readlink -f /etc/static 2>/dev/null || true)
  new=$(readlink -f "$toplevel/etc")
  link "$new" /etc/static || return 1
  entries "$new" | while read -r name; do
    mkdir -p "/etc/$(dirname "$name")" || exit 1
    if [ "$(readlink "/etc/$name")" = "/etc/static/$name" ]; then continue; fi
    # The host's own file comes back when no system declares this one any more.
    if [ -e "/etc/$name" ] || [ -L "/etc/$name" ]; then
      mv -T "/etc/$name" "/etc/$name.before-nixos" || exit 1
    fi
    link "/etc/static/$name" "/etc/$name" || exit 1
  done || return 1
  entries "$old" | while read -r name; do
    if [ -e "$new/$name" ] || [ -L "$new/$name" ]; then continue; fi
    if [ "$(readlink "/etc/$name")" != "/etc/static/$name" ]; then continue; fi
    rm -f "/etc/$name"
    if [ -e "/etc/$name.before-nixos" ] || [ -L "/etc/$name.before-nixos" ]; then
      mv -T "/etc/$name.before-nixos" "/etc/$name"
    fi
    rmdir --ignore-fail-on-non-empty "/etc/$(dirname "$name")" 2>/dev/null
  done
  return 0
}

if ! install_etc; then
  echo "Activation script snippet 'etc' failed" >&2
  status=2
fi
for snippet in "$toplevel"/activation-snippets/*; do
  [ -x "$snippet" ] || continue
  "$snippet" 9>&- || {
    echo "Activation script snippet '${snippet##*/}' failed ($?)" >&2
    status=2
  }
done

link "$toplevel" /run/current-system
if [ ! -e /run/booted-system ]; then ln -s "$toplevel" /run/booted-system; fi
exit "$status"
