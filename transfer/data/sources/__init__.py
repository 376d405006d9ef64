"""One module per data set: where its files lie, how they are fetched and read."""
