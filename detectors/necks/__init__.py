"""`forward(features) -> features`, with the two attributes of a backbone."""
