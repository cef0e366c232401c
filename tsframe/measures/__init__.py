"""Pure functions of a stack of students: errors, losses, norms, derivatives and their products."""
