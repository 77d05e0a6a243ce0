"""Claims of the review's tug_of_war part, as experiments."""
