# Wait for the end of an activation whose connection was lost.
#
# $new: the system that it activates
# $run: the run's id
# $seconds: how long to wait for its end
# $patience: seconds to wait for the lock
# $boot_id: the boot in which nothing of it can have been forgotten

set -u
# Whoever was to begin it may be about to.
take_host_or_leave "$patience" "who waits for run $run"
let_go
! has_begun "$new" test || rejoin "$new" "$seconds"
read -r boot </proc/sys/kernel/random/boot_id
[ "$boot" != "$boot_id" ] || leave "$exit_not_begun"
leave "$exit_rebooted" "it runs $(running)"
