"""Gradient-based solutions."""
