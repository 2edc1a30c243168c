"""The incidents in the database, on any engine: folded, acted on, announced, pruned, made again."""
