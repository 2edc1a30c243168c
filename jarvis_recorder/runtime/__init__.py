"""The process: its event loop and signals, log, user, service manager, and the texts it is given."""
