"""What a rule is written with: preconditions, walks that refuse, windows, and layers to be made."""
