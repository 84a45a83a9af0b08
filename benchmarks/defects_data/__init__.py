"""Clean sets of examples, English and Russian, and the defects that are seeded into them."""
