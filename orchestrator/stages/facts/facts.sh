# Answer what this machine is.
#
# $role: `target` leaves out what no plan asks of a target, for Nix to say of itself takes
#   it two starts: those are half of what all the rest costs.
#
# Runs as `sh -s` over ssh, as any user, on dash, bash and busybox: no program is
# required, an absent one leaves its lines out. Nothing here may wait for ever,
# and nothing is changed. Sizes are MiB. What the shell can read by itself it reads,
# and programs are asked for several things at once, since a fork is what costs on a
# slow machine; so does a subshell, $(…).

# shellcheck disable=SC2317 # the topics are called by name, in the loop at the end

have() {
	command -v "$1" >/dev/null 2>&1
}

# A tool that asks a driver can hang with it. Without `timeout` it isn't asked. Takes
# the place of the subshell that it is called in.
if have timeout; then
	bounded() { exec timeout -s KILL 5 "$@" </dev/null 2>/dev/null; }
else
	bounded() { return 127; }
fi

# Control characters in a device's name would end up on a terminal.
emit() {
	case $2 in
	'') return ;;
	*[[:cntrl:]]*) set -- "$1" "$(printf '%s' "$2" | tr -d '\000-\037\177')" ;;
	esac
	say "$1" "$2"
}

# Reads the first line of a file, or nothing, into `first`.
first_line() {
	first=
	[ ! -r "$1" ] || IFS= read -r first <"$1" 2>/dev/null || :
}

system() {
	# In this order, whatever the order of the letters.
	uname -srm | while read -r name release machine; do
		[ "$name" != Linux ] || name=linux
		emit system "$machine-$name"
		emit kernel "$release"
	done
	first_line /proc/sys/kernel/random/boot_id
	emit boot_id "$first"
	first_line /run/current-system/nixos-version
	emit nixos_version "$first"
	if [ "$role" != target ] && have systemd-detect-virt; then
		emit virtualization "$(bounded systemd-detect-virt)"
	fi
	if have systemd-run; then
		emit has_systemd_run 1
	fi
}

# Where the host goes back to while no run has confirmed what it runs (switch.sh).
confirmed=/run/current-system
unconfirmed() {
	[ -e /run/orchestrate/unconfirmed ] || return 0
	read -r new old </run/orchestrate/unconfirmed
	[ "$(realpath /run/current-system)" = "$new" ] || return 0
	! is_kept_by_its_owner "$new" || return 0
	emit goes_back_to "$old"
	confirmed=$old
}

# Whether somebody has made $1 the boot default by hand, and nothing leads away from it.
# systemd keeps the file of a transient unit for as long as it has the unit.
is_kept_by_its_owner() {
	for kind in timer service; do
		[ ! -e "/run/systemd/transient/orchestrate-rollback.$kind" ] || return 1
	done
	[ "$(realpath /nix/var/nix/profiles/system)" = "$1" ] || return 1
	# A confirmation of ours that didn't end well has begun like that.
	read -r _ system action </run/orchestrate/activation.what
	[ "$system $action" != "$1 boot" ] && [ "$system $action" != "$1 switch" ]
}

# Of the booted system, what is in use until the next boot.
links() {
	[ ! -x "$confirmed/sw/bin/sh" ] || emit has_system_shell 1
	keys=
	set --
	for link in running_system=:/run/current-system booted_system=:/run/booted-system \
		boot_default=:/nix/var/nix/profiles/system \
		'booted_part=kernel :/run/booted-system/kernel' \
		'booted_part=initrd :/run/booted-system/initrd' \
		'booted_part=kernel-modules :/run/booted-system/kernel-modules' \
		"llama_cli=:$confirmed/sw/bin/llama-cli"; do
		[ -e "${link#*:}" ] || continue
		keys="$keys${link%%:*}:"
		set -- "$@" "${link#*:}"
	done
	# Not readlink, for busybox's takes one name only.
	# All of them or none: one that has just gone would give its key the next one's path.
	[ $# -gt 0 ] && paths=$(realpath "$@") || return
	printf '%s\n' "$paths" | while IFS= read -r path; do
		key=${keys%%:*} keys=${keys#*:}
		emit "${key%%=*}" "${key#*=}$path"
	done
}

# One whose package is gone from the disk is there all the same, for it has to be tested.
dangling() {
	cli=$confirmed/sw/bin/llama-cli
	[ -e "$cli" ] || [ ! -L "$cli" ] || emit llama_cli "$(readlink "$cli")"
}

# What has failed there already, which no deployment is to be blamed for.
failed_units() {
	bounded systemctl list-units --state=failed,auto-restart --plain --no-legend |
		while read -r unit _; do emit failed_unit "$unit"; done
}

# What a switch must not change (NixOS's switchable-system.nix), as JSON of a few lines.
inhibitors() {
	text=
	while IFS= read -r line; do text=$text$line; done </run/current-system/switch-inhibitors
	emit switch_inhibitors "$text"
}

# ARM kernels call the flags Features and name no model there. One processor speaks
# for all: a shell reads byte by byte, and a server has megabytes of them.
processor() {
	count=0 model='' flags='' implementer='' part=''
	first_line /sys/devices/system/cpu/online
	while IFS= read -r line; do
		value=${line#*:}
		value=${value# }
		case $line in
		processor*) [ -n "$first" ] || count=$((count + 1)) ;;
		'model name'*) model=$value ;;
		flags* | Features*) flags=$value ;;
		'CPU implementer'*) implementer=$value ;;
		'CPU part'*) part=$value ;;
		'') [ -z "$first" ] || break ;;
		esac
	done </proc/cpuinfo
	# As `0-3,6`.
	while [ -n "$first" ]; do
		range=${first%%,*}
		[ "$range" = "$first" ] && first='' || first=${first#*,}
		count=$((count + ${range#*-} - ${range%-*} + 1))
	done
	emit cpu_model "${model:-${implementer:+implementer $implementer part $part}}"
	emit cpu_flags "$flags"
	emit cpu_count "$count"
}

memory() {
	while read -r key kibibytes _; do
		case $key in
		MemTotal:) emit memory_mib "$((kibibytes / 1024))" ;;
		MemAvailable:)
			emit memory_available_mib "$((kibibytes / 1024))"
			break
			;;
		esac
	done </proc/meminfo
	read -r load _ </proc/loadavg && emit load_average "$load"
	# The store's future parent stands in on a machine that has no store yet.
	for store in /nix/store /nix /; do
		[ ! -d "$store" ] || break
	done
	bounded df -P -k "$store" | {
		read -r _
		read -r _ _ _ kibibytes _ && emit store_free_mib "$((kibibytes / 1024))"
	}
}

# Display devices are PCI class 03 (PCI Code and ID Assignment, "Class Codes").
displays() {
	for device in /sys/bus/pci/devices/*; do
		first_line "$device/class"
		case $first in
		0x03*)
			driver=-
			[ ! -e "$device/driver" ] || driver=$(readlink -f "$device/driver")
			first_line "$device/vendor"
			vendor=$first
			first_line "$device/device"
			emit pci_display "${device##*/} $vendor $first ${driver##*/}"
			;;
		esac
	done
}

# A refused query prints its complaint to stdout, so only a success counts.
nvidia() {
	for program in nvidia-smi /run/opengl-driver/bin/nvidia-smi; do
		if have "$program" && answer=$(bounded "$program" --format=csv,noheader,nounits \
			--query-gpu=name,driver_version,compute_cap,memory.total); then
			printf '%s\n' "$answer" | while IFS= read -r line; do
				emit nvidia_gpu "$line"
			done
			return
		fi
	done
}

# The kernel writes major * 10000 + minor * 100 + stepping (amdkfd's kfd_crat.c);
# the compiler's name has minor and stepping in hexadecimal: 90010 is gfx90a.
# A CPU's node has 0.
compute() {
	for properties in /sys/class/kfd/kfd/topology/nodes/*/properties; do
		[ -r "$properties" ] || continue
		while read -r key version; do
			[ "$key" = gfx_target_version ] || continue
			[ "$version" -gt 0 ] || continue
			emit kfd_gfx_target "$(printf 'gfx%d%x%x' "$((version / 10000))" \
				"$((version / 100 % 100))" "$((version % 100))")"
		done <"$properties" 2>/dev/null
	done
	have vulkaninfo || return 0
	bounded vulkaninfo --summary | sed -n 's/^[[:space:]]*deviceName[[:space:]]*= //p' |
		while IFS= read -r line; do
			emit vulkan_device "$line"
		done
}

nix_daemon() {
	[ "$role" != target ] && have nix || return 0
	emit nix_version "$(bounded nix --version | sed -n '1s/.* //p')"
	# Renamed in Nix 2.20; older ones have show-config only.
	features=$(bounded nix --extra-experimental-features nix-command \
		config show system-features) || features=$(
		bounded nix --extra-experimental-features nix-command show-config |
			sed -n 's/^system-features = //p'
	)
	emit system_features "$features"
}

# The nixos-rebuild that activates a store path: with --store-path, and with --no-reexec,
# for without that it first builds another nixos-rebuild out of <nixpkgs/nixos> (its
# services.py, reexec). It is named by its store path, for a PATH leads elsewhere once
# another system runs. The program's own argument parser is asked first: --help shows the
# manual page, which costs much more, and which a server without documentation lacks.
nixos_rebuild() {
	program=$(command -v nixos-rebuild) || return 0
	program=$(readlink -f "$program")
	case $program in
	/nix/store/*/bin/nixos-rebuild) ;;
	*) return 0 ;;
	esac
	options=$(cat "${program%/bin/*}"/lib/python3*/site-packages/nixos_rebuild/__init__.py) ||
		options=$(bounded "$program" --help)
	case $options in
	*--store-path*--no-reexec* | *--no-reexec*--store-path*) emit nixos_rebuild "${program%/bin/*}" ;;
	esac
}

models() {
	set --
	for file in /var/lib/orchestrate/models/*; do
		[ -f "$file" ] || continue
		case ${file##*/} in
		*[!A-Za-z0-9._+-]*) ;;
		*) set -- "$@" "$file" ;;
		esac
	done
	[ $# = 0 ] || stat -L -c '%s %n' "$@" | while read -r size file; do
		emit model_file "${file##*/}:$size"
	done
}

facts() {
	for topic in system unconfirmed links dangling failed_units inhibitors processor memory \
		displays nvidia compute nix_daemon nixos_rebuild models; do
		"$topic" 2>/dev/null
	done
}

# Defined first and called last: a script cut off on its way does nothing.
facts </dev/null
leave "$exit_done"
