"""Run recipes (prepare, prune, fine-tune, write results), compare runs, and use finished ones."""
