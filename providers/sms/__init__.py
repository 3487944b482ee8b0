"""SMS: what every carrier shares, and one folder a carrier."""
