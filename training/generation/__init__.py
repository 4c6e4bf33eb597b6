"""From what a user asks for to layers: requests, layouts, sampling. Knows pictures and models, no files."""
