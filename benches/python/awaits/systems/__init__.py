"""The systems, a file each; `face.py` is what they have in common."""
