"""The recorder as a process: recording and replying to requests, assembled and supervised."""
