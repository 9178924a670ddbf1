"""LoRAs that turn while a pipeline runs."""
