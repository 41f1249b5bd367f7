# Answer the generations of the system profile: a link each, and the system it leads to.

for link in /nix/var/nix/profiles/system-*-link; do
  if [ -e "$link" ]; then say generation "$link $(readlink -f "$link")"; fi
done
leave "$exit_done"
