"""Search: which method and allocation suit a backbone and a task, by successive halving over short fine-tunings."""
