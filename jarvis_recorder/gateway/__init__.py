"""
HTTP for people and for what the original system's frontend calls: REST, a live stream, a page.

It is a client of the recorder, over the broker: it opens no database, and may run elsewhere.
"""
