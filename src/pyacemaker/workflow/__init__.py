"""The eight steps, the last of them the gates, and what runs and resumes them."""
