"""One script per downstream task: ``python -m recipes.NAME --help``."""
