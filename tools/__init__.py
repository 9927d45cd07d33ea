"""How a checkout is set up: `make setup` runs these with nothing but Python's own library."""
