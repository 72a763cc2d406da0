"""The demo: a plant as processes, a story of orders and lots, and the accounts at its end."""
