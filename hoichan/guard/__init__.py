"""What must be recorded of who did what, who may do what, and how a study loses its names."""
