"""The plant as declared: ISA-95 levels, the topic tree, its checks, and the way to Sparkplug and ``uns1/…``."""
