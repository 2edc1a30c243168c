"""Queries, for every database that SQLAlchemy speaks to."""
