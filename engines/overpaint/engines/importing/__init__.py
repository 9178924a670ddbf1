"""From a checkpoint to a bundle with no torch: packaged graphs, weights by reference."""
