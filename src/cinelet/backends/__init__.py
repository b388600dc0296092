"""How a video is made; no backend knows another."""
