"""One training loop and one inference engine for every composition of network and conditional."""
