"""The hand-off: encoder weights in and out, and the card that describes them."""
