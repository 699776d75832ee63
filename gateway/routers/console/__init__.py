"""Routes that the web console and other new clients need. No API of another product has them."""
