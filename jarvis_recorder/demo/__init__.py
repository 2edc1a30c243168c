"""A private broker and a stretch of cluster life, to see the recorder at work."""
