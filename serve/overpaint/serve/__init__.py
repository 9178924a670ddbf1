"""HTTP and WebSocket around the runtime."""
