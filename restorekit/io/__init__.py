"""Picture files and what is in them: pixels, and what has to survive with them."""
