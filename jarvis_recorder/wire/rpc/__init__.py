"""JSON-RPC 2.0: requests, params, results, methods."""
