"""How far two models agree, and what a disagreement costs."""
