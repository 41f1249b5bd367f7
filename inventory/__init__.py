"""Which hosts there are, how they are reached, and what each is for."""
