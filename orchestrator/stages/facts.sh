# What this machine is, as key=value lines between `begin=1` and `end=1`.
#
# Runs as `sh -s` over ssh, as any user, on dash, bash and busybox: no program is
# required, an absent one leaves its lines out. Nothing here may wait for ever,
# and nothing is changed. Sizes are MiB. Numbers from the kernel are taken with
# the shell's own `read`, since a fork is what costs on a slow machine.
#
# $1 `target` leaves out what no plan asks of a target, for Nix to say of itself takes
# it two starts: those are half of what all the rest costs.
role=${1:-}

# shellcheck disable=SC2317 # the topics are called by name, in the loop at the end

LC_ALL=C
export LC_ALL
# A non-interactive ssh session gets sshd's own PATH, where NixOS has next to
# nothing and a Debian with Nix lacks nix.
PATH="${PATH:-/usr/bin:/bin}:/run/wrappers/bin:/run/current-system/sw/bin"
PATH="$PATH:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
export PATH

have() {
	command -v "$1" >/dev/null 2>&1
}

# A tool that asks a driver can hang with it. Without `timeout` it isn't asked.
if ! have timeout; then
	bounded() { return 127; }
elif timeout -k 1 5 true 2>/dev/null; then
	bounded() { timeout -k 1 5 "$@" </dev/null 2>/dev/null; }
else
	bounded() { timeout 5 "$@" </dev/null 2>/dev/null; }
fi

emit() {
	[ -z "$2" ] || printf '%s=%s\n' "$1" "$2"
}

# The first line of a file, or nothing.
first_line() {
	first=
	[ ! -r "$1" ] || IFS= read -r first <"$1" 2>/dev/null || :
	printf '%s' "$first"
}

system() {
	emit system "$(uname -m)-$(uname -s | tr '[:upper:]' '[:lower:]')"
	emit kernel "$(uname -r)"
	emit boot_id "$(first_line /proc/sys/kernel/random/boot_id)"
	emit nixos_version "$(first_line /run/current-system/nixos-version)"
	for link in running_system:/run/current-system booted_system:/run/booted-system \
		boot_default:/nix/var/nix/profiles/system; do
		[ ! -e "${link#*:}" ] || emit "${link%%:*}" "$(readlink -f "${link#*:}")"
	done
	# What of the booted system is in use until the next boot.
	for part in kernel initrd kernel-modules; do
		[ ! -e "/run/booted-system/$part" ] ||
			emit booted_part "$part $(readlink -f "/run/booted-system/$part")"
	done
	if [ "$role" != target ] && have systemd-detect-virt; then
		emit virtualization "$(bounded systemd-detect-virt)"
	fi
	if have systemd-run; then
		emit has_systemd_run 1
	fi
}

# ARM kernels call the flags Features and name no model there.
processor() {
	count=0 model='' flags='' implementer='' part=''
	while IFS= read -r line; do
		value=${line#*:}
		value=${value# }
		case $line in
		processor*) count=$((count + 1)) ;;
		'model name'*) model=$value ;;
		flags* | Features*) flags=$value ;;
		'CPU implementer'*) implementer=$value ;;
		'CPU part'*) part=$value ;;
		esac
	done </proc/cpuinfo
	emit cpu_model "${model:-${implementer:+implementer $implementer part $part}}"
	emit cpu_flags "$flags"
	emit cpu_count "$count"
}

memory() {
	while read -r key kibibytes _; do
		case $key in
		MemTotal:) emit memory_mib "$((kibibytes / 1024))" ;;
		MemAvailable:) emit memory_available_mib "$((kibibytes / 1024))" ;;
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
		case $(first_line "$device/class") in
		0x03*)
			driver=-
			[ ! -e "$device/driver" ] || driver=$(readlink -f "$device/driver")
			emit pci_display "${device##*/} $(first_line "$device/vendor") $(
				first_line "$device/device"
			) ${driver##*/}"
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
	bounded vulkaninfo --summary | sed -n 's/^[[:space:]]*deviceName[[:space:]]*= /vulkan_device=/p'
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

# --help shows the manual page, which a server without documentation lacks; the
# program's own argument parser is then the place to look.
nixos_rebuild() {
	program=$(command -v nixos-rebuild) || return 0
	program=$(readlink -f "$program")
	if bounded "$program" --help | grep -q -e --store-path ||
		grep -q -s -e --store-path "${program%/bin/*}"/lib/python3*/site-packages/nixos_rebuild/__init__.py; then
		emit nixos_rebuild_store_path 1
	fi
}

llama() {
	program=/run/current-system/sw/bin/llama-cli
	[ ! -x "$program" ] || emit llama_cli "$(readlink -f "$program")"
	for file in /var/lib/orchestrate/models/*; do
		[ -f "$file" ] || continue
		case ${file##*/} in
		*[!A-Za-z0-9._+-]*) continue ;;
		esac
		size=$(stat -L -c %s "$file" 2>/dev/null) && emit model_file "${file##*/}:$size"
	done
}

facts() {
	echo begin=1
	for topic in system processor memory displays nvidia compute nix_daemon nixos_rebuild llama; do
		"$topic" 2>/dev/null
	done
	echo end=1
}

# Defined first and called last: a script cut off on its way does nothing.
# Control characters in a device's name would end up on a terminal.
facts </dev/null | tr -d '\000-\011\013-\037\177'
exit 0
