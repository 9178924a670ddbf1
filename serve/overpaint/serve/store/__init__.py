"""What the server keeps: bytes, for a time and up to a size."""
