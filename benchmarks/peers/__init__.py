"""The programs that the router is compared with, each as a process."""
