"""One file a question: each prints a table and one line of JSON."""
