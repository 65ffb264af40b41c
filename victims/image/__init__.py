"""Networks for pictures, cut in two, and what reads their pictures."""
