"""The seven steps, and what runs and resumes them."""
