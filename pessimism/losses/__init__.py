"""The published objectives, one file a family, their registry and the index of facts about them."""
