"""Who trains: crews of workers, the marks they leave in a store, and how they are stopped."""
