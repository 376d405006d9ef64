"""Data sources, one file per data set: where its files are, how they are fetched and read."""
