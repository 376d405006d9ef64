"""The papers' figures, each from one call: numbers as JSON and CSV, and a picture beside them."""
