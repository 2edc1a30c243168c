"""The process: its event loop and signals, its log, its user, its supervisor."""
