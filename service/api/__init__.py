"""The HTTP side: the page and the API under one application (`service.api.app.create_app`)."""
