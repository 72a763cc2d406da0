"""What Sparkplug and this product need of a broker, probed: ``uns broker check``."""
