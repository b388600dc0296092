"""What a video is: request, result, progress, model, backend, errors. Imports nothing of ours."""
