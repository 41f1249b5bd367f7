# Make a key for one copy, and the ssh configuration that uses it and no other.
#
# $1 the target's host key, as `TYPE BASE64`   $2 address   $3 port   $4 user
# $5 `yes` to compress
#
# Prints the directory that holds both, and the public key.
set -eu
umask 077
directory=$(mktemp -d /tmp/orchestrate-XXXXXXXXXXXX)
cd "$directory"
ssh-keygen -q -t ed25519 -N '' -C orchestrate -f key
printf 'orchestrate-target %s\n' "$1" >known
cat >config <<CONFIG
Host orchestrate-target
  HostName $2
  Port $3
  User $4
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
  Compression $5
CONFIG
echo "$directory"
cat key.pub
