"""Network pieces: frozen backbones, embedding nets, aggregators, CTR nets."""
