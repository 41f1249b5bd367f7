"""Pure functions and scripts of orchestrator/stages/plan/."""
