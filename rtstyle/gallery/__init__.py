"""A name to a style code: the bundled gallery, the user's own folder, any .onnx file."""
