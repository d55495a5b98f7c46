"""Parts of `chaos.py`: what runs, what breaks it, what calls it, what watches it, and what must hold."""
