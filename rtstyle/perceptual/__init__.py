"""Perceptual losses, measured by VGG. Needs torch."""
