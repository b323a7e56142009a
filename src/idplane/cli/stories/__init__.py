"""The programs that the demonstration runs inside its machines: ordinary code with production URLs and no configuration."""
