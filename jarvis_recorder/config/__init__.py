"""Settings, and loading them."""
