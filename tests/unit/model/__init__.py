"""Pure functions and scripts of orchestrator/model/."""
