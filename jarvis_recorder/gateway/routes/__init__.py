"""The REST methods, a file a subject."""
