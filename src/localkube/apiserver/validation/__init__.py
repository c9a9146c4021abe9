"""What objects must look like, per kind, in the API server's own words and order."""
