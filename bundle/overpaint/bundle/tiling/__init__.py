"""A VAE in parts, so that a picture of any size passes it tile by tile: `split` cuts its graph at
the group norms, `extend` makes a bundle of the parts."""
