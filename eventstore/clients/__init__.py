"""The other end: requests to a cluster of voters, and subscriptions that miss nothing."""
