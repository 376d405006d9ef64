"""One script a downstream task: ``python -m recipes.NAME --help``."""
