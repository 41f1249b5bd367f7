# Make a key for one copy, and the ssh configuration that uses it and no other. Answer
# the directory that holds both, and the public key.
#
# $host_key: the target's, as `TYPE BASE64`
# $address: where it is
# $port: its sshd's
# $user: who logs in
# $compression: yes or no

set -eu
umask 077
directory=$(mktemp -d /tmp/orchestrate-XXXXXXXXXXXX)
cd "$directory"
ssh-keygen -q -t ed25519 -N '' -C orchestrate -f key
printf 'orchestrate-target %s\n' "$host_key" >known
cat >config <<CONFIG
Host orchestrate-target
  HostName $address
  Port $port
  User $user
  IdentityFile $directory/key
  IdentitiesOnly yes
  IdentityAgent none
  HostKeyAlias orchestrate-target
  UserKnownHostsFile $directory/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  ServerAliveInterval 2
  ServerAliveCountMax 3
  Compression $compression
CONFIG
say directory "$directory"
read -r type base64 _ <key.pub
say key "$type $base64"
leave "$exit_done"
