"""Pure analysis: items in, results out."""
