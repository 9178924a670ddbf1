"""What the operator sees: log lines and metrics, with nothing in them that a client wrote."""
