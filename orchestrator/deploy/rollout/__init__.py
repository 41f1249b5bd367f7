"""What comes next in a run, decided from where it stands. Pure."""
