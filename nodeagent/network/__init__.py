"""The network contract, and what is common to its drivers."""
