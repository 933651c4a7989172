"""Modality Performed Procedure Step and Instance Availability Notification (PS3.4 F and R)."""
