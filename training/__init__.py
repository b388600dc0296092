"""How the embedded model is made, and how well it does what it is told."""
