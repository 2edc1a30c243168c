"""The database. The only room that knows SQL."""
