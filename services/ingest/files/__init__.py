"""Files: tables read in a process of their own, their columns understood, their rows turned into ours. Nothing here
touches the database."""
