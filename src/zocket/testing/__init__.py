"""The test kit that applications use: an app in process, on a virtual clock."""
