# The disks and file systems of a machine, which nobody can guess. In place of this file
# goes what `nixos-generate-config --show-hardware-config` prints on the machine.
throw "hardware/example.nix: put in here what nixos-generate-config --show-hardware-config prints on the machine"
