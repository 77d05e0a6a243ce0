"""Memory for artificial learning systems."""
