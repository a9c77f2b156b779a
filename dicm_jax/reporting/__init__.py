"""A page about one or several runs, made of the files in their folders."""
