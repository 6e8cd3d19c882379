"""The learning rate is what the schedule says, at every step and over every resume."""
