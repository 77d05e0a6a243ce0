"""Meta-learning."""
