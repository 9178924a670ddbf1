"""What lies on disk: bundles, graphs as files, checkpoints, LoRAs. No torch, no engine."""
