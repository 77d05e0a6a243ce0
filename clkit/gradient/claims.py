"""Claims of the review's gradient part, as experiments."""
