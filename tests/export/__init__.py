"""Tests of what a finished model is written as."""
