"""Image-to-image on NumPy: image, text, noise, schedule, guidance, loop. It sees sessions only."""
