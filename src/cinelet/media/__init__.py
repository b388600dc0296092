"""Facts about files, and files from frames: probe, encode, images, timing. Knows nothing of models."""
