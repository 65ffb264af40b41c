"""What happens to a payload before it leaves the edge."""
