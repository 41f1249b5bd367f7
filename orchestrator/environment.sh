# What every script and every program on a host starts with, whoever logs in. A line is
# one command, so that they can be joined by semicolons.
#
# Messages are read, so they must be English. In C.UTF-8 and not C, for a program of the
# user's may ask for letters beyond ASCII; a system that lacks it falls back to C by itself.
LC_ALL=C.UTF-8
export LC_ALL
# What a login shell would add, behind what is there: sshd runs commands without one, and
# gives them next to nothing on NixOS and no nix on a Debian that has it.
PATH=${PATH:-/usr/bin:/bin}:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH
