"""The product on the lab: what a user of `orchestrate` gets, on real hosts."""
