"""What is true of a session, whoever stores or shows it: pure, the standard library only."""
