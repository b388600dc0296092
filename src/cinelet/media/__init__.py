"""Facts about files, pictures of them, and files from frames: probe, sketch, encode. Knows nothing of models."""
