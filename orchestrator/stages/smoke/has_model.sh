# Answer how many bytes the model has that is here.
#
# $path: where it belongs

! [ -e "$path" ] || say size "$(stat -c %s "$path")"
leave "$exit_done"
