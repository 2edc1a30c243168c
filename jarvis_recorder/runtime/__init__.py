"""The process: its event loop and signals, its log, its user and its service manager."""
