"""The codec: image -> latents -> indices -> bytes, and back."""
