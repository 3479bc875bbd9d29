"""Reserved for links to video pages: a link becomes a file. Knows nothing of tasks."""
