"""The original system's database, and importing it."""
