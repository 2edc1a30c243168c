"""The benchmarks of the recorder and its peers; see README.md."""
