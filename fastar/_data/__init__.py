"""Data as users have them, read into numbers block by block, and back."""
