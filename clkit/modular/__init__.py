"""Modular architectures."""
