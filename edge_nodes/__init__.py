"""Edge nodes: daemons that read PLCs and publish Sparkplug B through a store that loses nothing."""
