"""Pure functions and scripts of inventory/."""
