"""One derivation into one store path, on a builder, detached from us."""
