"""Setting up a checkout: `make setup` runs these with nothing but Python's own library."""
