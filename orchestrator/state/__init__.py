"""What a Redis-protocol server holds for runs, controllers and workers: below the stages."""
