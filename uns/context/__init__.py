"""What the plant was doing: facts with valid time and knowledge time, and the as-of question over them."""
