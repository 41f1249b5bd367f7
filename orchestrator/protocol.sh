# How a script is given its arguments, and how it answers: the other side is scripts.py.

# Arguments are words NAME=VALUE up to `--`; what follows stays in "$@". A value is
# assigned as it is, for eval expands it and doesn't parse it.
tools=
while [ "$1" != -- ]; do
  eval "${1%%=*}=\${1#*=}"
  shift
done
shift

# After an activation by `test` the PATH is the new system's, whose programs may not run
# here: ours are then those of the system that ran before. What is looked at runs by the
# PATH that it finds.
# shellcheck disable=SC2034 # for the script behind this text
system_path=$PATH
[ -z "$tools" ] || PATH=$tools/sw/bin:$PATH

# Answer that $1 is $2, one line.
say() { printf 'orchestrate:%s=%s\n' "$1" "$2"; }

# Answer each line of standard input as $1.
say_lines() { sed "s/^/orchestrate:$1=/"; }

# Pass on what a program has printed: no line of it can be taken for an answer.
guarded() { sed 's/^orchestrate:/ &/'; }

# The same, and the answer that comes next begins a line, even if the program ended in
# the middle of one.
pass_on() {
  guarded
  echo
}

# End with one of the exit codes, for the reason $2 if it needs one. The code counts as
# ours only with this line: sudo, a shell or a signal may end with the same.
leave() {
  [ -z "${2-}" ] || say why "$2"
  say exit "$1"
  exit "$1"
}

# Run a program, pass on what it prints on either stream as one text, and have its exit
# code as `code`.
run_framed() {
  exec 4>&1
  code=$({ { "$@" 2>&1 3>&- 4>&-; echo "$?" >&3; } | pass_on >&4; } 3>&1)
  exec 4>&-
}
