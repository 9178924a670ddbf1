# The server on a processor, with the embedded model: docs/containers.md
FROM python:3.13-slim AS build
COPY . /src
RUN python -m venv --without-pip /opt/overpaint
RUN pip --python /opt/overpaint/bin/python install '/src[cpu,serve]'

FROM python:3.13-slim
COPY --from=build /opt/overpaint /opt/overpaint
ENV PATH=/opt/overpaint/bin:$PATH
# What is written, is written there: all else may be read-only.
ENV HOME=/tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=60s CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]
ENTRYPOINT ["overpaint", "serve", "--host", "0.0.0.0", "--device", "cpu"]
CMD ["--warm-up", "128x128"]
