"""A plant whose broker knows everybody by certificate and lets each write its own topics alone."""
