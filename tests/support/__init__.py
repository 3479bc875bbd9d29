"""What tests share: builders of rows and media, servers, processes, and waiting."""
