"""Forward passes recorded as operations, and replayed with gradients that the model itself hides."""
