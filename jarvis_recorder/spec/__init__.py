"""The documents that describe the wire: JSON Schema, AsyncAPI, OpenRPC."""
