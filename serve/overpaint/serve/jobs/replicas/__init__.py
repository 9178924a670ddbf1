"""One process of many on a Ray cluster, each with engines of its own; and how they are deployed."""
