"""Claims of the review's memory part, as experiments."""
