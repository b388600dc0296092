"""cinelet makes videos from a prompt or an image with any Hugging Face video model."""
