"""What the built-in sample is made of: looks, tastes and traffic."""
