"""Laws of the exact predictions."""
