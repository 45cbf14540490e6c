"""The pages that are written from the code and its tests, so that each says what is so. `make docs` writes them."""
