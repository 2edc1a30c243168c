"""Answers as people read them, on a terminal or in a pipe."""
