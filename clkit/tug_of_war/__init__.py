"""Why networks forget: studies of the tug-of-war between examples."""
