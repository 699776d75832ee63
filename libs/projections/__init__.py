"""Read models: rows, their schema, their rebuild, and paged queries over them."""
