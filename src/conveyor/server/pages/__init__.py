"""Pages of an index: the simple API and the JSON API."""
