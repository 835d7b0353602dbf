"""What several tests share: clips, fixtures, a server, a screen."""
