"""The dose-response curve of steering."""
