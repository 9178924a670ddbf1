"""What the local provider stands on: bundles, their queues, and the threads that run them."""
