"""What only a comparison of all chapters can show."""
