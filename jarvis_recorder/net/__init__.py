"""Addresses, TLS, and the HTTP server that health and gateway share."""
