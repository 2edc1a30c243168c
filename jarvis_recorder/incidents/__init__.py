"""Incidents: the conditions that events tell of. Pure; the same events give the same incidents."""
