"""Methods that tests add to the project's own."""
