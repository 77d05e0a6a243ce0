"""The questions of each graded exercise: inputs, how an answer is judged, typical mistakes, hints. No torch here."""
