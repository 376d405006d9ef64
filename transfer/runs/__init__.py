"""The story of a run: prepared, pruned, trained, kept in its folder; and what is done with finished ones."""
