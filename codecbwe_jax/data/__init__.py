"""Recordings and batches, on the host. Nothing here touches a device."""
