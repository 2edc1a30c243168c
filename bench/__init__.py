"""The recorder measured beside its peers; see README.md."""
