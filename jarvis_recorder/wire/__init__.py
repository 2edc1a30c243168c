"""Bytes in, typed records or a refusal out. Pure: no I/O, no clock, no logging."""
