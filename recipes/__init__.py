"""Recipes: programs that make the models which Kamerton ships."""
