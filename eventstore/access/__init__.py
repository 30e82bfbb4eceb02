"""Who may connect, with which key, and where the voters are: folds of the log, and key files."""
