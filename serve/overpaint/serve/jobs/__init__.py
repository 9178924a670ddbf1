"""Jobs: one protocol, what runs behind it, and the service that keeps the records."""
