"""The PostgreSQL adapter: one database, and as many recorders as write to it."""
