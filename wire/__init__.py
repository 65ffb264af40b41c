"""How a payload crosses a socket. Knows tensors, nothing of victims."""
