"""What a person looks at: progress bars, tables, plots."""
