"""Training of an encoder on pairs of items: the JD.com talk's first stage."""
