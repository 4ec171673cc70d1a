"""Collection: PPO for many trials at once, recorded, resumable."""
