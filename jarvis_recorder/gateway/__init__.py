"""
HTTP for people and for what the original system's frontend calls: REST and a live stream.

It is a client of the recorder, over the broker: it opens no database, and may run elsewhere.
"""
