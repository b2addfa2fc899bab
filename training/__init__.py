"""The workshop: from public films and reviewed cases to a model package. Not in the wheel."""
