# Answer the generations of the system profile: a link each, and the system it leads to.
# `current` is the link that the profile is.

for link in /nix/var/nix/profiles/system-*-link; do
  if [ -e "$link" ]; then say generation "$link $(readlink -f "$link")"; fi
done
[ ! -L /nix/var/nix/profiles/system ] || say current "$(readlink /nix/var/nix/profiles/system)"
leave "$exit_done"
