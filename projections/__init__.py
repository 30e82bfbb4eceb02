"""The vocabulary of facts (event types) and the folds that turn the log into state. No I/O."""
