"""Gatys' method: one frame optimised. Needs torch, except for the settings."""
