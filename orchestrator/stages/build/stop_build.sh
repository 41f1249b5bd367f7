# Stop a build that runs detached; nothing to do where none runs.
#
# $1 the hash of its derivation
if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
cd "$home/builds/$1" 2>/dev/null || exit 0
if [ "$(id -u)" = 0 ] && systemctl stop "orchestrate-build-$1.service" 2>/dev/null; then
  exit 0
fi
flock -n -s lock true && exit 0
# The third field behind the name in brackets is the process group (proc_pid_stat(5)).
pid=$(cat pid) || exit 0
group=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 3)
[ -z "$group" ] || kill -TERM "-$group"
