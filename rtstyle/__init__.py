"""rtstyle paints a webcam or a video in the style of a picture, in real time."""
