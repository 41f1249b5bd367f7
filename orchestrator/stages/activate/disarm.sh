# Let the running system stay until the next boot: disarm the automatic rollback, no more.
#
# $new: the system that is to stay
# $old: the one before it, or empty
# $run: the run's id
# $patience: seconds to wait for the lock

set -u
take_host_or_leave "$patience" "the confirmation of run $run"
disarm_or_leave "$new" "$old"
unroot
forget_unconfirmed
leave "$exit_done"
