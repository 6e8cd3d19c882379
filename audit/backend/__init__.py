"""What trainers implement and the core asks of them: values and protocols."""
