"""What a machine is, as it says itself: one script, one round trip."""
