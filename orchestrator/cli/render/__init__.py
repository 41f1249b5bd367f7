"""What a user sees of a run: lines as it goes, tables of how it ended."""
