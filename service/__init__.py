"""The house at work: score, write back, show. A leaf: nothing imports it; it starts by `hoichan`."""
