# Run a command by sudo, with the password that is the first line of standard input; the
# command reads the rest.
#
# $user: who runs it
# $@: the command

# printf is the shell's own: the password is in no process's arguments. It is tried
# first, for sudo would take the lines after a wrong one for further attempts, and
# wait for them if the command talks to us.
IFS= read -r password
if sudo -n -u "$user" true 2>/dev/null; then exec sudo -n -u "$user" -- "$@"; fi
printf '%s\n' "$password" | sudo -k -S -p '' -u "$user" -- true || exit
{ printf '%s\n' "$password"; cat; } | sudo -k -S -p '' -u "$user" -- "$@"
