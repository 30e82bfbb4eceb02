"""What a voter serves to clients: requests, and committed records as they come."""
