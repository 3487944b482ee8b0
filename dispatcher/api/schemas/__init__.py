"""Wire forms of requests and answers, and how they turn into what the core takes."""
