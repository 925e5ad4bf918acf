"""The seven steps and the gates, and what runs and resumes them."""
