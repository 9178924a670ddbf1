"""In front of the routes: who may call, how much, and how errors are told."""
