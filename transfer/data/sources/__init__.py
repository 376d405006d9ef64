"""One file a data set: where its files lie, how they are fetched and read."""
