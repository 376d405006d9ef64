"""Write a finished model in other forms."""
