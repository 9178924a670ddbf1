"""The faces of the service: the native API, OpenAI's and AUTOMATIC1111's."""
