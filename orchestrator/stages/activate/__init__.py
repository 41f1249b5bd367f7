"""From the system that runs to the next one and back, with the automatic rollback armed."""
