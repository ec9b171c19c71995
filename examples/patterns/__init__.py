"""What is done with records again and again, and the trace that it makes: a module and a page of docs each."""
