"""From a command to a plan: look at the fleet, evaluate it, decide; nothing is touched."""
