"""What is done with a message: one verb a file, over ports only."""
