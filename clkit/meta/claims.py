"""Claims of the review's meta part, as experiments."""
