"""The demo: a private broker and half an hour of cluster life, recorded."""
