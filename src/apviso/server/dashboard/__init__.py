"""The pages that people look at. Each asks the public API, within this process and as the person who is signed in, and shows the answer."""
