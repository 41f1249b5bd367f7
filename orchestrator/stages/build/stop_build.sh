# Stop a build that runs detached; nothing to do if none runs.
#
# $hash: the hash of its derivation

if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
cd "$home/builds/$hash" 2>/dev/null || leave "$exit_done"
if [ "$(id -u)" = 0 ] && systemctl stop "orchestrate-build-$hash.service" 2>/dev/null; then
  leave "$exit_done"
fi
! flock -n -s lock true || leave "$exit_done"
# The third field behind the name in brackets is the process group (proc_pid_stat(5)).
pid=$(cat pid) || leave "$exit_done"
group=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 3)
[ -z "$group" ] || kill -TERM "-$group" || leave "$exit_unstopped"
leave "$exit_done"
