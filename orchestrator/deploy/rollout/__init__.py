"""What comes next in a run, and how its hosts ended, from the run as it stands. Pure."""
