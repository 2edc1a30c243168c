"""The recorder as a process: recording and answering, assembled and supervised."""
