"""How the arguments of each kind of program are judged."""
