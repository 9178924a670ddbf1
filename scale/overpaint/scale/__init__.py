"""Past one machine: a Ray cluster, and what its nodes need of ours."""
