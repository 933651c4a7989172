"""What lies on the disk: directories, segments, records, and the file system under them."""
