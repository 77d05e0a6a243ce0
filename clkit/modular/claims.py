"""Claims of the review's modular part, as experiments."""
