"""Users, permissions and definitions for an operator's broker."""
