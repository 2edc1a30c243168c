"""
The HTTP gateway: a REST API, a live stream, and the calls of the original system's frontend.

It is a client of the recorder, over the broker: it opens no database, and may run elsewhere.
"""
