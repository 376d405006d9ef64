"""Tables, plots, and the closing words of a comparison."""
