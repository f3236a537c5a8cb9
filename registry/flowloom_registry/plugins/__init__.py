"""What is installed: kinds, rows, plugins, and the catalog that finds them."""
