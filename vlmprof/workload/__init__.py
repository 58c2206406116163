"""What is asked of the engine: images, prompts, schedules, and the client that times tokens."""
