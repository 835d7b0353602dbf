"""What happens to one frame: shrink, paint, stabilize, enlarge, look."""
