"""The batched engine, optimizers, schedules and stopping rules."""
