#!/bin/sh
# boot-loader.sh TOPLEVEL: makes the lab's image boot that system, which is what its
# /boot/loader/default names. NixOS's config.system.build.installBootLoader.
set -e
mkdir -p /boot/loader
printf '%s\n' "$1" >/boot/loader/default.new
sync /boot/loader/default.new
mv -f /boot/loader/default.new /boot/loader/default
sync /boot/loader
sh -e "$1/extra-install-commands"
