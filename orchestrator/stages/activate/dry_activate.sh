# Pass on what a system says its activation would do.
#
# $toplevel: the system

set -u
run_framed "$toplevel/bin/switch-to-configuration" dry-activate
say activation "$code"
[ "$code" = 0 ] || leave "$exit_activation_failed"
leave "$exit_done"
