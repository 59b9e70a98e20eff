"""The public API as tools of an assistant, by the Model Context Protocol. Changes nothing unless it is told that it may."""
