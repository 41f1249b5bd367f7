"""What the stages hand to each other: frozen types, no behaviour that touches the world."""
