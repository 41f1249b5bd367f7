"""Pure functions and scripts of orchestrator/stages/facts/."""
