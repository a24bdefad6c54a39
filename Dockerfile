# starberg as a service: docker build --tag starberg:0.1.0 .   As Airflow with starberg beside it: --target airflow.
# Python and starberg are put into folders of their own, so that both images have the same, as locked.
FROM debian:12.12-slim AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_PROJECT_ENVIRONMENT=/opt/starberg UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /build
COPY . .
RUN uv python install 3.12.12 && uv sync --locked --no-dev --no-editable --python 3.12.12

FROM apache/airflow:3.3.2 AS airflow
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/starberg /opt/starberg
USER root
RUN ln -s /opt/starberg/bin/starberg /usr/local/bin/starberg \
    && install --directory --owner airflow /var/lib/starberg
USER airflow
ENV STARBERG_HOME=/var/lib/starberg

FROM debian:12.12-slim AS starberg
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm --recursive /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/starberg starberg
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/starberg /opt/starberg
ENV PATH=/opt/starberg/bin:$PATH STARBERG_HOME=/var/lib/starberg/home PYTHONUNBUFFERED=1
# By number, as Kubernetes asks for one to know that it is not root.
USER 10001
WORKDIR /var/lib/starberg
ENTRYPOINT ["starberg"]
CMD ["schedule"]
