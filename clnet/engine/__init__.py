"""Evaluation: from graph to kernel launches; knows no op by name."""
