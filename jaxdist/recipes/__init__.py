"""Recipes: whole training steps, built from the floors below."""
