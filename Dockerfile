# The default grid in a container, on an x86-64 processor: docker build -t deepclust . && docker run deepclust
# Its results: docker run -v "$PWD/from-docker:/deepclust/reports" deepclust. Another grid: ... make repro GRID=smoke.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /deepclust
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1
COPY . .
RUN make setup
CMD ["make", "repro"]
