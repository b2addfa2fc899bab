"""What must be recorded of who did what, and how a study loses its names."""
