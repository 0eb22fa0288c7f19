"""The terminal application of stevemin."""
