# Say of the store paths on standard input which are here as files, and since when:
# `MTIME PATH` each. One program for all of them, and no start of Nix.
xargs stat -c '%Y %n' 2>/dev/null
case $? in
  # 123: some are not here.
  0 | 123) exit 0 ;;
  *) exit 69 ;;
esac
