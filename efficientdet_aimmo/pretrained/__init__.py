"""Published weights: fetched by their names, read into our networks."""
