"""Video file to video file."""
