# The default grid, any other, and `deepclust cluster` in a container on an x86-64 processor, without a GPU:
#   docker build -t deepclust .
#   docker run --name demo deepclust; docker cp demo:/deepclust/reports from-docker
#   docker run --name smoke deepclust run smoke; docker cp smoke:/deepclust/grids/smoke/reports from-docker
#   docker run --rm --user "$(id -u)" -v "$PWD:/here" -w /here deepclust cluster flowers.csv -k 3
# Debian 12 has the C library of the committed results: glibc 2.36 (docs/same-bits.md).
FROM python:3.11-slim-bookworm
WORKDIR /deepclust

# The libraries are a layer that a change of code, settings or results leaves as it is. An editable install needs no more
# of the package than its version.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src/deepclust/_version.py src/deepclust/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --constraint constraints.txt --editable '.[pipeline]'

# DVC writes beside what it reads, and finds no git here
RUN useradd --create-home deepclust && chown -R deepclust /deepclust
COPY --chown=deepclust . .
USER deepclust
ENV MPLCONFIGDIR=/tmp/matplotlib
RUN dvc config --global core.no_scm true

ENTRYPOINT ["deepclust"]
CMD ["run"]
