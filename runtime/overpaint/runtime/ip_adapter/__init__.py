"""Reference pictures: read, turned into an adapter's tokens, and how much of each where."""
